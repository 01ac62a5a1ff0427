"""Records and facts of the real images, read and measured once."""

import pandas as pd
import pytest

from melanoma.data.checks import facts
from melanoma.data.sources import isic, ph2, readers


@pytest.fixture(scope="session")
def real_records(real_data, params, tmp_path_factory) -> pd.DataFrame:
    """ISIC and PH2 in the common schema, read through their readers; nothing is copied."""
    top = tmp_path_factory.mktemp("raw")
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
    return readers.read_records(name, folder, licence=defaults.licence, attribution=defaults.attribution)


@pytest.fixture(scope="session")
def real_facts(real_records, params, tmp_path_factory) -> pd.DataFrame:
    """What each of the 2,451 real files is."""
    return facts.inspect_images(
        real_records,
        root=tmp_path_factory.getbasetemp(),
        settings=params.inspect,
        execution=params.execution,
        description="inspect",
    )
