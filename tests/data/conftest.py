"""Records and facts of the real images, read and measured once."""

import pandas as pd
import pytest

from melanoma.data.sources import isic, ph2, readers
from tests.data.inspecting import inspect_images
from tests.data.toys import TARGET_RULE
from tests.shared import build_once


@pytest.fixture(scope="session")
def real_records(real_data, params, tmp_path_factory) -> pd.DataFrame:
    """ISIC and PH2 in the common schema, read through their readers; no image is copied."""
    folder = build_once(
        tmp_path_factory,
        "real-records",
        lambda folder: _read_all(real_data, folder, params).to_pickle(folder / "records.pkl"),
    )
    return pd.read_pickle(folder / "records.pkl")


def _read_all(real_data, top, params):
    origin = real_data / "isic"
    plan = isic.open_source(origin / "metadata.csv", origin / "images", origin / "masks", is_partial=False)
    frames = [_read("isic", plan.metadata, origin, top, params)]
    with ph2.open_source(real_data / "ph2", is_partial=False) as plan:
        frames.append(_read("ph2", plan.metadata, real_data / "ph2", top, params))
    return pd.concat(frames, ignore_index=True)


def _read(name, metadata, origin, top, params):
    folder = top / name
    folder.mkdir()
    metadata.to_csv(folder / "metadata.csv", index=False)
    for part in ("images", "masks"):
        (folder / part).symlink_to(origin / part)
    defaults = params.ingest[name]
    return readers.read_records(
        name, folder, licence=defaults.licence, attribution=defaults.attribution, **TARGET_RULE
    )


@pytest.fixture(scope="session")
def real_facts(real_records, params, tmp_path_factory) -> pd.DataFrame:
    """Measured facts of the 2,451 real images."""

    def measure(folder):
        inspect_images(
            real_records,
            root=folder,
            settings=params.inspect,
            execution=params.execution,
            description="inspect",
        ).to_pickle(folder / "facts.pkl")

    return pd.read_pickle(build_once(tmp_path_factory, "real-facts", measure) / "facts.pkl")
