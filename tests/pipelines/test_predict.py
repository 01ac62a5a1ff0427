"""A folder of images through the served model: the brighter a picture, the higher its score."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from melanoma.scoring.operating_point import Calibration, OperatingPoint
from pipelines import _cli, predict
from tests.data.pictures import encode
from tests.data.zoo import build_zoo, skin
from tests.imports import ROOT
from tests.serving.brightness import write_network
from tests.serving.conftest import LIMITS as SERVED_LIMITS

MODEL = "models:/melanoma-sample@staging"
POINT = OperatingPoint(Calibration(), threshold=0.6, refer_from=0.5, refer_to=0.7)
LIMITS = SERVED_LIMITS | {"max_request_megabytes": 8, "min_image_side": 64}


@pytest.fixture(scope="module")
def staged(empty_store, tmp_path_factory):
    """A store whose registry holds `MODEL`."""
    from melanoma import tracking
    from melanoma.registry import versions
    from melanoma.serving import export

    folder = tmp_path_factory.mktemp("store")
    shutil.copy(empty_store, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        patch.delenv("MLFLOW_RUN_ID", raising=False)
        patch.setattr(sys, "path", list(sys.path))  # loading a model puts its code folder there
        tracking.client().create_experiment("predict", artifact_location=str(folder / "artifacts"))
        with tracking.open_run(experiment="predict", name="trained", tags={}) as run:
            pass
        uri = export.log_served_model(
            run.run_id,
            network=write_network(folder / "model.onnx"),
            operating_point=POINT,
            limits=LIMITS,
            is_synthetic=True,
            positive_means="melanoma",
            example=export.example_image(64),
        )
        version = versions.register("melanoma-sample", uri, tags={versions.DIGEST_TAG: "1"})
        versions.set_alias("melanoma-sample", "staging", version.version)
        yield uri


@pytest.fixture
def images(tmp_path):
    """A folder with twenty images, below and beside each other."""
    folder = tmp_path / "images"
    (folder / "below").mkdir(parents=True)
    for number in range(20):
        darker = (skin(number) * (1 - number / 40)).astype(np.uint8)
        (folder / ("below" if number % 2 else "") / f"{number:02}.png").write_bytes(encode(darker, "PNG"))
    return folder


def run(images: Path, out: Path, *options: str) -> int:
    params = ["--params", str(ROOT / "params.yaml")]
    return _cli.run(predict.main, [*params, "--images", str(images), "--out", str(out), *options])


def test_every_file_gets_the_row_that_the_served_model_answers(staged, images, tmp_path, capsys):
    import mlflow

    assert run(images, tmp_path / "out.csv", "--model", MODEL) == 0
    assert "20 images scored, 0 files refused" in capsys.readouterr().out
    table = pd.read_csv(tmp_path / "out.csv")
    assert table["file"].tolist() == sorted(str(path.relative_to(images)) for path in images.rglob("*.png"))
    assert table["problem"].isna().all()
    encoded = [(images / name).read_bytes() for name in table["file"]]
    expected = mlflow.pyfunc.load_model(MODEL).predict(pd.DataFrame({"image": encoded}))
    np.testing.assert_allclose(table["probability"], expected["probability"], rtol=0, atol=1e-12)
    for column in ("decision", "threshold", "note"):
        assert table[column].tolist() == expected[column].tolist()
    assert table["model_version"].astype(str).tolist() == expected["model_version"].tolist()
    assert table["probability"].nunique() == 20


def test_files_keep_their_rows_whatever_order_they_are_asked_in(staged, images):
    from melanoma.serving import folder

    model = folder.load_model(MODEL)
    names = folder.list_files(images)
    mixed = [*reversed(names[::2]), *names[5:2:-1]]
    right, again = (
        {
            row["file"]: row["probability"]
            for batch in folder.score_files(model, images, asked)
            for row in batch
        }
        for asked in (names, mixed)
    )
    assert set(again) == {str(name) for name in mixed}
    assert all(again[name] == pytest.approx(right[name], abs=1e-12) for name in again)
    assert len(set(right.values())) == 20


def test_a_model_that_does_not_keep_the_index_is_refused(images):
    from melanoma.errors import TrackingError
    from melanoma.serving import folder

    class Positions:
        def predict(self, asked):
            return pd.DataFrame({"probability": [0.5] * len(asked)})

    with pytest.raises(TrackingError, match="cannot be matched to the"):
        list(folder.score_files(Positions(), images, folder.list_files(images)))


def test_without_a_name_the_model_staged_for_the_active_cohort_is_taken(staged, images, tmp_path):
    assert run(images, tmp_path / "named.csv", "--model", MODEL) == 0
    assert run(images, tmp_path / "out.csv") == 0
    assert (tmp_path / "out.csv").read_bytes() == (tmp_path / "named.csv").read_bytes()


def test_a_bad_file_gets_its_reason_and_harms_no_other(staged, images, tmp_path, capsys):
    assert run(images, tmp_path / "clean.csv", "--model", MODEL) == 0
    (images / "broken.jpg").write_bytes(encode(skin(1), "JPEG")[:-500])
    (images / "notes.txt").write_text("no image", encoding="utf-8")
    (images / "dangling.jpg").symlink_to(images / "nowhere.jpg")
    assert run(images, tmp_path / "out.csv", "--model", MODEL) == 0
    assert "20 images scored, 3 files refused" in capsys.readouterr().out
    table = pd.read_csv(tmp_path / "out.csv").set_index("file")
    problems = table["problem"].dropna()
    assert problems["broken.jpg"].startswith("the image cannot be decoded completely")
    assert problems["notes.txt"] == "the bytes are not a JPEG, PNG, BMP, WEBP image"
    assert problems["dangling.jpg"].startswith("the file cannot be read")
    assert len(problems) == 3
    assert table.loc[problems.index, "probability"].isna().all()
    clean = pd.read_csv(tmp_path / "clean.csv").set_index("file")
    rest = table.loc[clean.index, "probability"]
    np.testing.assert_allclose(rest, clean["probability"], rtol=0, atol=1e-12)


def test_the_zoo_of_broken_files_is_gone_through_to_its_end(staged, tmp_path):
    build_zoo(tmp_path / "zoo")
    assert run(tmp_path / "zoo", tmp_path / "out.csv", "--model", MODEL) == 0
    table = pd.read_csv(tmp_path / "out.csv")
    assert (table["probability"].isna() == table["problem"].notna()).all()
    assert table["problem"].notna().sum() > 40


def test_hidden_files_are_left_out(staged, images, tmp_path):
    (images / ".DS_Store").write_bytes(b"x")
    assert run(images, tmp_path / "out.csv", "--model", MODEL) == 0
    assert len(pd.read_csv(tmp_path / "out.csv")) == 20


@pytest.mark.parametrize("name", ["models:/melanoma-sample@nobody", "models:/melanoma-none/1", "models:/x"])
def test_a_model_that_is_not_there_is_refused_by_name(staged, images, tmp_path, capsys, name):
    assert run(images, tmp_path / "out.csv", "--model", name) == 1
    assert f"error: {name} cannot be loaded" in capsys.readouterr().err
    assert not (tmp_path / "out.csv").exists()


def test_a_folder_that_is_empty_or_none_is_refused(staged, images, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert run(tmp_path / "empty", tmp_path / "out.csv") == 1
    assert "has no files" in capsys.readouterr().err
    assert run(tmp_path / "absent", tmp_path / "out.csv") == 1
    assert "is not a folder" in capsys.readouterr().err


def test_an_earlier_table_stays_whole_when_a_later_call_fails(staged, images, tmp_path):
    assert run(images, tmp_path / "out.csv", "--model", MODEL) == 0
    before = (tmp_path / "out.csv").read_bytes()
    shutil.rmtree(images)
    assert run(images, tmp_path / "out.csv", "--model", MODEL) == 1
    assert (tmp_path / "out.csv").read_bytes() == before
