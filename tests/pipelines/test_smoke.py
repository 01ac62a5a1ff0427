"""The smoke test against a small server that reads requests as the real one does."""

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE

from melanoma.errors import DataError
from melanoma.stages.smoke import _differences
from pipelines import _cli, smoke
from tests.end_to_end.clone import free_port
from tests.imports import ROOT
from tests.serving.asgi import ask, front
from tests.serving.conftest import LIMITS

NUM_IMAGES = 20


class Model:
    """The probability of an image is the number that stands in its bytes."""

    def __init__(self, added: float = 0.0, decision: str = "negative") -> None:
        self.added, self.decision = added, decision
        self.seen: list[str] = []

    def answer(
        self, images: Sequence[bytes], image_ids: Sequence[str], params: object, **options: object
    ) -> dict[str, list]:
        self.seen += image_ids
        if b"no image" in images:
            raise MlflowException("1 of 1 rows refused: row 0: no image", INVALID_PARAMETER_VALUE)
        return {
            "image_id": list(image_ids),
            "probability": [float(encoded) + self.added for encoded in images],
            "decision": [self.decision] * len(images),
            "model_version": ["7"] * len(images),
        }


@contextmanager
def serving(model: Any) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            message = {"type": "http.request", "body": body}
            status, content = ask(application, "POST", "/invocations", message)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(content).encode())

        def log_message(self, *words: object) -> None:
            """Say nothing."""

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever)
    thread.start()
    with front(LIMITS, model.answer) as application:
        try:
            yield f"http://127.0.0.1:{running.server_port}"
        finally:
            running.shutdown()
            running.server_close()
            thread.join()


@pytest.fixture
def evaluated(tmp_path, monkeypatch):
    """The current folder holds accepted images and the predictions of two models."""
    monkeypatch.chdir(tmp_path)
    ids = [f"SYN_{number:02}" for number in range(NUM_IMAGES)]
    paths = [tmp_path / f"{image_id}.jpg" for image_id in ids]
    for number, path in enumerate(paths):
        path.write_text(str(number / NUM_IMAGES))
    columns = {"target": 0, "lesion_id": None, "patient_id": None, "sha256": "0", "is_synthetic": True}
    accepted = pd.DataFrame({"image_id": ids, "path": [path.name for path in paths], **columns})
    (tmp_path / "data" / "accepted").mkdir(parents=True)
    accepted.to_parquet("data/accepted/sample.parquet")
    report = tmp_path / "reports" / "sample"
    report.mkdir(parents=True)
    point = {"refer_from": 0.5, "refer_to": 0.7}
    models = {"selected": "tuned", "tuned": {"operating_point": point}}
    (report / "models.json").write_text(json.dumps(models))
    tables = []
    for model, shift in (("baseline", 0.5), ("tuned", 0.0)):
        probability = [number / NUM_IMAGES + shift for number in range(NUM_IMAGES)]
        row = {"image_id": ids, "model": model, "probability": probability, "decision": "negative"}
        tables.append(pd.DataFrame(row))
    pd.concat(tables).to_csv(report / "predictions.csv", index=False)
    return SimpleNamespace(ids=ids, report=report)


def run(url: str, *options: str) -> int:
    return _cli.run(smoke.main, ["--params", str(ROOT / "params.yaml"), "--url", url, *options])


def test_equal_answers_pass_in_one_line(evaluated, capsys):
    with serving(Model()) as url:
        assert run(url) == 0
    assert capsys.readouterr().out == (
        "[smoke] 20 images of sample, model version 7: all answers equal the offline predictions; "
        "a bad request is refused\n"
    )


def test_as_many_images_as_asked_are_posted_spread_over_the_cohort(evaluated):
    model = Model()
    with serving(model) as url:
        assert run(url, "--num-images", "4") == 0
    assert model.seen == ["no image", *evaluated.ids[::5]]


@pytest.mark.parametrize(("added", "exit_code"), [(0.9e-5, 0), (1.1e-5, 1), (-1.1e-5, 1)])
def test_a_probability_may_differ_by_a_hundred_thousandth(evaluated, capsys, added, exit_code):
    with serving(Model(added=added)) as url:
        assert run(url) == exit_code
    assert ("20 of 20 images" in capsys.readouterr().err) == bool(exit_code)


def test_another_decision_is_a_difference_and_named(evaluated, capsys):
    with serving(Model(decision="refer")) as url:
        assert run(url, "--num-images", "1") == 1
    text = capsys.readouterr().err
    assert "SYN_00: expected 0.000000 negative, got 0.000000 refer" in text
    assert "promotion.json" in text


def test_on_a_bound_between_two_decisions_either_passes(evaluated, capsys):
    with serving(Model(decision="refer")) as url:
        assert run(url) == 1
    assert "18 of 20 images" in capsys.readouterr().err  # all but those at 0.5 and 0.7


def test_a_server_that_takes_what_is_no_image_fails(evaluated, capsys):
    class Careless(Model):
        def answer(self, images, image_ids, params, **options):
            return super().answer([b"0.5"] * len(images), image_ids, params, **options)

    with serving(Careless()) as url:
        assert run(url) == 1
    assert "must answer 400 and name the row" in capsys.readouterr().err


def test_a_server_that_loses_a_row_fails(evaluated, capsys):
    class Losing(Model):
        def answer(self, images, image_ids, params, **options):
            lost = int(len(images) > 1)
            return super().answer(images[lost:], image_ids[lost:], params, **options)

    with serving(Losing()) as url:
        assert run(url) == 1
    assert "rows, which do not match the" in capsys.readouterr().err


def test_no_server_is_said_so(evaluated, capsys):
    assert run(f"http://127.0.0.1:{free_port()}") == 1
    assert "Start a server" in capsys.readouterr().err


def test_without_predictions_it_says_how_to_make_them(evaluated, capsys):
    (evaluated.report / "predictions.csv").unlink()
    assert run("http://127.0.0.1:1") == 1
    assert "dvc repro" in capsys.readouterr().err


@pytest.mark.parametrize("number", ["0", "-1"])
def test_no_images_are_refused(evaluated, capsys, number):
    assert run("http://127.0.0.1:1", "--num-images", number) == 1
    assert "There is no image to post" in capsys.readouterr().err


def change_predictions(evaluated, change) -> None:
    predictions = pd.read_csv(evaluated.report / "predictions.csv")
    change(predictions).to_csv(evaluated.report / "predictions.csv", index=False)


@pytest.mark.parametrize("seed", range(3))
def test_images_are_compared_by_their_ids_whatever_the_order_of_both_tables(evaluated, capsys, seed):
    change_predictions(evaluated, lambda rows: rows.sample(frac=1, random_state=seed))
    accepted = pd.read_parquet("data/accepted/sample.parquet")
    accepted.sample(frac=1, random_state=seed + 9).to_parquet("data/accepted/sample.parquet", index=False)
    with serving(Model()) as url:
        assert run(url) == 0
        change_predictions(evaluated, lambda rows: rows[rows["image_id"] > "SYN_04"])
        assert run(url) == 0
    assert "15 images of sample" in capsys.readouterr().out


def test_a_predicted_image_that_is_not_accepted_is_named(evaluated, capsys):
    accepted = pd.read_parquet("data/accepted/sample.parquet")
    accepted[accepted["image_id"] != "SYN_03"].to_parquet("data/accepted/sample.parquet")
    assert run("http://127.0.0.1:1") == 1
    assert "The accepted images cannot be paired" in (message := capsys.readouterr().err)
    assert "1 images have no row (SYN_03)" in message


def test_an_image_that_is_predicted_twice_is_named(evaluated, capsys):
    change_predictions(evaluated, lambda rows: pd.concat([rows, rows[-1:]]))
    assert run("http://127.0.0.1:1") == 1
    assert "1 images occur more than once (SYN_19)" in capsys.readouterr().err


def test_answers_are_paired_by_image_id_and_those_of_other_images_refused():
    ids = ["a", "b", "c"]
    expected = pd.DataFrame(
        {"image_id": ids, "probability": [0.1, 0.2, 0.3], "decision": "negative", "is_at_bound": False}
    )
    answers = [
        {"image_id": image_id, "probability": probability, "decision": "negative"}
        for image_id, probability in zip(ids, (0.1, 0.2, 0.3), strict=True)
    ]
    assert _differences(expected, answers[::-1]) == []
    assert _differences(expected.sample(frac=1, random_state=1), answers) == []
    (found,) = _differences(expected, [*answers[:2], answers[2] | {"probability": 0.4}])
    assert found.startswith("c: expected 0.300000 negative, got 0.400000")
    assert _differences(expected, [answer | {"decision": "benign"} for answer in answers]) == []
    assert len(_differences(expected, [answer | {"decision": "malignant"} for answer in answers])) == 3
    for wrong in (answers[:2], [*answers, answers[0]], [*answers[:2], answers[2] | {"image_id": "x"}]):
        with pytest.raises(DataError, match="The answers of the server cannot be paired"):
            _differences(expected, wrong)
