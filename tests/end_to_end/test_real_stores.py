"""The stages against a tracking server on PostgreSQL and S3 (SeaweedFS), and a model served from there."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from tests.end_to_end.clone import free_port, report, score, server, staging_server
from tests.imports import ROOT
from tests.pipelines import workspace as ws

pytestmark = pytest.mark.slow
BUCKET = "mlflow"


@pytest.fixture(scope="module")
def tracking_url(tmp_path_factory, postgres, s3_server):
    s3_server.client.create_bucket(Bucket=BUCKET)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [
        "mlflow",
        "server",
        "--backend-store-uri",
        postgres["runs"],
        "--workers",
        "1",
        "--port",
        str(port),
    ]
    artifacts = ["--artifacts-destination", f"s3://{BUCKET}/"]
    settings = s3_server.settings | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    folder = tmp_path_factory.mktemp("tracking")
    with server(folder, *command, *artifacts, url=f"{url}/health", settings=settings):
        yield url


def test_training_to_staging_runs_on_postgresql_and_s3_and_is_served_from_there(
    workspace, tmp_path, postgres, s3_server, tracking_url
):
    folder = ws.copy(workspace, tmp_path / "copy")
    ws.change_params(folder / "params.yaml", tune={"storage": postgres["studies"]})
    with ws.inside(folder):
        os.environ["MLFLOW_TRACKING_URI"] = tracking_url
        # As dvc.yaml runs it: the study's connections to PostgreSQL end with the process.
        search = [sys.executable, "-m", "pipelines.tune", *ws.command("tune", "sample")]
        subprocess.run(search, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True)
        for stage in ("train", "evaluate", "promote"):
            assert ws.run_stage(stage) == 0, stage
    assert not list(Path(folder).glob("mlruns/*"))
    names = [item["Key"] for item in s3_server.client.list_objects_v2(Bucket=BUCKET)["Contents"]]
    assert any(name.endswith("model.onnx") for name in names)
    verdict = report(folder, "sample/promotion")
    assert verdict["is_promoted"]
    predictions = pd.read_csv(folder / "reports/sample/predictions.csv")
    expected = predictions[predictions["model"] == verdict["model"]].iloc[0]
    image = (folder / f"data/raw/sample/images/{expected['image_id']}.jpg").read_bytes()
    with staging_server(folder, "sample", {"MLFLOW_TRACKING_URI": tracking_url}) as url:
        (row,) = score(url, [image]).json()["predictions"]
    assert abs(row["probability"] - expected["probability"]) < 1e-5
    assert row["model_version"] == "1"


def test_a_server_that_is_down_is_named_without_a_trace(workspace, tmp_path, capsys, monkeypatch):
    folder = ws.copy(workspace, tmp_path / "copy")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    with ws.inside(folder):
        os.environ["MLFLOW_TRACKING_URI"] = f"http://127.0.0.1:{free_port()}"
        assert ws.run_stage("promote") == 1
    message = capsys.readouterr().err
    assert "error: The tracking store http://127.0.0.1" in message
    assert "Traceback" not in message
