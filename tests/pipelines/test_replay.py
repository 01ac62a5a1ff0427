"""`python -m pipelines.replay` against a small server: a stream that resumes, with late and biased labels."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE

from melanoma.data import images
from melanoma.scoring.operating_point import NEGATIVE, POSITIVE, REFER
from melanoma.stages.replay import LABELS, POSTED, cast_colours
from pipelines import _cli, replay
from tests.pipelines import workspace as ws
from tests.pipelines.test_smoke import serving

DECISIONS = (NEGATIVE, REFER, POSITIVE)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A folder with parameters and the raw folder of the synthetic dataset."""
    folder = tmp_path_factory.mktemp("project")
    ws.write_params(folder / "params.yaml", ws.SMALL)
    with ws.inside(folder):
        assert ws.run_stage("sample") == 0
    return folder


@pytest.fixture
def raw(project):
    """The current folder is that project."""
    with ws.inside(project):
        yield


class Model:
    """Decides by the digest of the image; refuses damaged ones."""

    def __init__(self, prediction_id: str | None = "p") -> None:
        self.prediction_id = prediction_id
        self.seen: list[tuple[str, str | None, str]] = []

    def answer(self, encoded, image_ids, params, *, group_ids, **options):
        (content,), (image_id,), (group_id,) = encoded, image_ids, group_ids
        digest = hashlib.sha256(content).hexdigest()
        self.seen.append((image_id, group_id, digest))
        try:
            images.decode(content)
        except Exception as error:
            raise MlflowException("1 of 1 rows refused: row 0: damaged", INVALID_PARAMETER_VALUE) from error
        return {
            "image_id": [image_id],
            "prediction_id": [self.prediction_id and f"{self.prediction_id}-{image_id}"],
            "image_sha256": [digest],
            "probability": [0.5],
            "decision": [DECISIONS[int(digest, 16) % 3]],
        }


def run(url, *options, out="stream", dataset="sample"):
    return _cli.run(replay.main, ["--dataset", dataset, "--url", url, "--out", out, *options])


def posted(out="stream"):
    return pd.DataFrame([json.loads(line) for line in Path(out, POSTED).read_text().splitlines()])


def test_a_dataset_is_posted_once_with_its_patients_and_gets_biased_labels(raw, tmp_path, capsys):
    out, model = str(tmp_path / "stream"), Model()
    with serving(model) as url:
        assert run(url, out=out) == 0
    metadata = pd.read_csv("data/raw/sample/metadata.csv").set_index("image_id")
    assert sorted(one[0] for one in model.seen) == sorted(metadata.index)
    assert [one[1] for one in model.seen] == metadata.loc[
        [one[0] for one in model.seen], "patient_id"
    ].tolist()
    rows, labels = posted(out), pd.read_csv(Path(out, LABELS))
    (refused,) = rows.loc[rows["problem"].notna(), "image_id"]
    assert metadata.loc[refused, "planted_fault"] == "truncated"
    assert f"{len(metadata)} images posted" in capsys.readouterr().out
    verified = labels.merge(rows, on="prediction_id", suffixes=("", "_posted"))
    assert len(verified) == len(labels)
    assert (verified["label"] == verified["target"].map({1.0: POSITIVE, 0.0: NEGATIVE})).all()
    numbers = (one["decision"].value_counts().reindex(DECISIONS, fill_value=0) for one in (verified, rows))
    share = next(numbers) / next(numbers)
    assert share[NEGATIVE] < 0.3 < share[REFER] < share[POSITIVE]
    assert 0 < len(verified) < len(rows)


def test_a_killed_stream_goes_on_and_posts_nothing_twice(raw, tmp_path):
    out, first, second = str(tmp_path / "stream"), Model(), Model()
    with serving(first) as url:
        assert run(url, "--num-images", "12", out=out) == 0
    path = Path(out, POSTED)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:7]) + lines[7][:20])  # it died in the middle of a line
    with serving(second) as url:
        assert run(url, "--num-images", "12", out=out) == 0
    assert [one[0] for one in second.seen] == [one[0] for one in first.seen[7:]]
    assert posted(out)["image_id"].tolist() == [one[0] for one in first.seen]


def test_another_stream_in_the_same_folder_is_refused(raw, tmp_path, capsys):
    out = str(tmp_path / "stream")
    with serving(Model()) as url:
        assert run(url, "--num-images", "2", out=out) == 0
        before = Path(out, POSTED).read_bytes()
        assert run(url, "--num-images", "2", "--cast", "1.2", "1", "0.8", out=out) == 1
        assert "another stream: cast differ" in capsys.readouterr().err
        assert Path(out, POSTED).read_bytes() == before
        assert run(url, "--num-images", "2", "--cast", "1.2", "1", "0.8", out=f"{out}-cast") == 0


def test_patients_of_two_streams_can_differ(raw, tmp_path):
    model = Model()
    with serving(model) as url:
        for name in ("", "may "):
            options = ["--num-images", "3", "--patients", name]
            assert run(url, *options, out=str(tmp_path / f"stream {name}")) == 0
    groups = [one[1] for one in model.seen]
    assert groups[3:] == [f"may {group}" for group in groups[:3]]


def test_labels_come_late(raw, tmp_path):
    out = str(tmp_path / "stream")
    with serving(Model()) as url:
        assert run(url, "--num-images", "8", "--label-delay", "1.5", "--rate", "50", out=out) == 0
    labels = pd.read_csv(Path(out, LABELS)).merge(posted(out), on="prediction_id")
    delay = pd.to_datetime(labels["labelled_at"]) - pd.to_datetime(labels["posted_at"])
    assert len(labels)
    assert (delay == pd.Timedelta(seconds=1.5)).all()


def test_a_server_that_records_nothing_is_refused(raw, tmp_path, capsys):
    with serving(Model(prediction_id=None)) as url:
        assert run(url, out=str(tmp_path / "stream")) == 1
    assert "records nothing" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--out", "x"], "give --dataset"),
        (["--out", "x", "--dataset", "sample", "--labelled", "y.csv"], "give --dataset"),
        (["--out", "x", "--dataset", "sample", "--rate", "0"], "invalid _positive value"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(options, message, capsys):
    with pytest.raises(SystemExit):
        replay.main(options)
    assert message in capsys.readouterr().err


def test_an_unknown_dataset_is_refused(raw, tmp_path, capsys):
    assert run("http://127.0.0.1:9", dataset="nothing", out=str(tmp_path / "stream")) == 1
    assert "no reader for dataset 'nothing'" in capsys.readouterr().err


def test_a_reader_labels_what_the_queue_lists(raw, tmp_path, capsys):
    out = tmp_path / "stream"
    with serving(Model()) as url:
        assert run(url, "--num-images", "20", out=str(out)) == 0
    rows = posted(out).dropna(subset=["image_sha256", "target"])
    listed = rows.head(5)[["prediction_id", "image_sha256"]].assign(why="audit", label=None)
    listed.loc[len(listed) + 100] = ["other", "0" * 64, "audit", None]  # an image of another stream
    listed.to_csv(tmp_path / "queue.csv", index=False)
    words = ["--read-queue", str(tmp_path / "queue.csv"), "--labelled", str(tmp_path / "labelled.csv")]
    assert _cli.run(replay.main, ["--out", str(out), *words]) == 0
    labelled = pd.read_csv(tmp_path / "labelled.csv")
    expected = rows.head(5)["target"].map({1.0: POSITIVE, 0.0: NEGATIVE}).tolist()
    assert labelled["label"].tolist()[:5] == expected
    assert labelled["label"].isna().tolist() == [False] * 5 + [True]
    assert "5 of 6 images" in capsys.readouterr().out


def test_a_colour_cast_changes_the_colours_and_leaves_damaged_files(raw):
    encoded = next(Path("data/raw/sample/images").glob("SYN_0*.jpg")).read_bytes()
    before, after = (images.decode(one).mean((0, 1)) for one in (encoded, cast_colours(encoded, (1, 1, 0.5))))
    np.testing.assert_allclose(after / before, [1, 1, 0.5], atol=0.03)
    assert cast_colours(encoded, None) == encoded
    assert cast_colours(encoded[:100], (1, 1, 0.5)) == encoded[:100]
