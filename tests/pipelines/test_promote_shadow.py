"""A challenger is refused until a server of the champion has let it answer beside it; then it is judged."""

import json
import time
from pathlib import Path

import pandas as pd
import pytest

from melanoma import tracking
from melanoma.monitoring import records
from melanoma.registry import ledger, versions
from melanoma.serving import client
from melanoma.serving.records import RECORDS, RECORDS_KEY
from melanoma.serving.shadow import SHADOW
from tests.pipelines.test_promote import NAME, challenged, evaluated, verdict, with_challenger
from tests.pipelines.workspace import change_params, run_stage
from tests.serving.conftest import serving

__all__ = ["challenged", "evaluated", "with_challenger"]  # fixtures
NUM_IMAGES, DEADLINE = 6, 120

pytestmark = pytest.mark.slow


def post_images(url):
    """Post the first images of the cohort, one a request."""
    accepted = pd.read_parquet("data/accepted/sample.parquet")
    for image_id, path in accepted[["image_id", "path"]].head(NUM_IMAGES).itertuples(index=False):
        client.score_images(url, {image_id: Path(path).read_bytes()})


def test_a_challenger_is_refused_until_it_has_answered_beside_the_champion(challenged):
    place = challenged / "records"
    change_params(
        challenged / "params.yaml", promote={"min_shadow_rows": NUM_IMAGES, "shadow_records": str(place)}
    )
    assert run_stage("promote") == 0
    first = verdict()
    assert not first["is_promoted"]
    (reason,) = first["reasons"]
    assert f"{NUM_IMAGES} are missing. Serve models:/{NAME}@staging with {SHADOW}=" in reason
    assert first["is_acceptable"]
    assert int(versions.find_version(NAME, versions.CHALLENGER).version) == first["version"] == 2

    settings = {
        RECORDS: str(place),
        RECORDS_KEY: "k" * 32,
        SHADOW: f"models:/{NAME}@{versions.CHALLENGER}",
    }
    with serving(f"models:/{NAME}@{versions.STAGING}", challenged, settings=settings) as url:
        post_images(url)
        deadline = time.monotonic() + DEADLINE
        while (
            num := records.read(place, spool=place / "spool").rows["shadow_probability"].notna().sum()
        ) < NUM_IMAGES:
            assert time.monotonic() < deadline, num
            time.sleep(0.5)

    assert run_stage("promote") == 0
    second = verdict()
    assert second["is_promoted"]
    assert (second["version"], second["attempt"]) == (2, first["attempt"])  # judged again: the same place
    assert second["shadow"]["num_rows"] == NUM_IMAGES
    assert second["looks"]["num_models"] == first["looks"]["num_models"]
    (moved,) = [one for one in ledger.moves(NAME, versions.STAGING) if one.version == 2]
    evidence = tracking.download_run_file(moved.run_id, ledger.EVIDENCE, challenged / "evidence")
    assert json.loads(evidence.read_text())["shadow"]["num_rows"] == NUM_IMAGES
    card = Path("reports/sample/model_card.md").read_text()
    assert f"the challenger answered {NUM_IMAGES} images in shadow beside the champion" in card
