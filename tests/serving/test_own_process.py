"""A model answers with its own code, whatever code this process has imported."""

from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException

from melanoma.errors import TrackingError
from melanoma.fingerprint import travelling_code
from melanoma.serving.export import example_image
from tests.serving.conftest import LIMITS

OTHER_ANSWER = 0.125


@pytest.fixture
def model_folder(logged, tmp_path):
    """A copy of the served model, away from its store."""
    return Path(mlflow.artifacts.download_artifacts(logged.uri, dst_path=str(tmp_path / "model")))


def change_calibration(model: Path, line: str) -> None:
    """Let the code that travels with a model calibrate otherwise."""
    module = travelling_code(model) / "scoring" / "operating_point.py"
    head = "    def apply(self, score: np.ndarray) -> np.ndarray:\n"
    assert head in module.read_text()
    module.write_text(module.read_text().replace(head, f"{head}        {line}\n", 1))


@pytest.fixture
def other_code(model_folder):
    """The model, made by code that calibrates every score to `OTHER_ANSWER`."""
    change_calibration(model_folder, f"return np.full(np.shape(score), {OTHER_ANSWER})")
    return model_folder


def frame(num: int = 1) -> pd.DataFrame:
    return pd.DataFrame(
        {"image": [example_image(64 + number) for number in range(num)], "image_id": list("abcdef"[:num])}
    )


def own_process(loaded):
    return loaded.unwrap_python_model()._own_process


def test_a_model_of_other_code_answers_as_its_own_code_does(other_code, served):
    loaded = mlflow.pyfunc.load_model(str(other_code))
    answer = loaded.predict(frame(3))
    assert answer["probability"].tolist() == [OTHER_ANSWER] * 3
    assert answer["image_id"].tolist() == ["a", "b", "c"]
    assert OTHER_ANSWER not in served.predict(frame(3))["probability"].tolist()


def test_a_model_of_code_that_gave_no_reason_answers_without_one(model_folder):
    module = travelling_code(model_folder) / "serving" / "scorer.py"
    text = module.read_text()
    (line,) = [line for line in text.splitlines() if '"reason": ' in line]
    module.write_text(text.replace(line + "\n", ""))
    answer = mlflow.pyfunc.load_model(str(model_folder)).predict(frame(2))
    assert "reason" not in answer
    assert answer["image_id"].tolist() == ["a", "b"]


def test_a_model_of_the_same_code_needs_no_other_process_and_gives_the_same_answer(model_folder, served):
    loaded = mlflow.pyfunc.load_model(str(model_folder))
    assert own_process(loaded) is None
    pd.testing.assert_frame_equal(loaded.predict(frame(3)), served.predict(frame(3)))


def test_a_changed_comment_starts_no_other_process(model_folder):
    change_calibration(model_folder, "# a comment")
    assert own_process(mlflow.pyfunc.load_model(str(model_folder))) is None


def test_a_changed_line_starts_another_process_that_gives_the_same_answer(model_folder, served):
    change_calibration(model_folder, "score = score * 1")
    loaded = mlflow.pyfunc.load_model(str(model_folder))
    assert own_process(loaded) is not None
    pd.testing.assert_frame_equal(loaded.predict(frame(3)), served.predict(frame(3)))
    explained = loaded.predict(frame(2), params={"explain": True, "threshold": 0.9})
    pd.testing.assert_frame_equal(
        explained, served.predict(frame(2), params={"explain": True, "threshold": 0.9})
    )


def test_two_models_of_different_code_are_loaded_side_by_side(logged, other_code, tmp_path):
    third = Path(mlflow.artifacts.download_artifacts(logged.uri, dst_path=str(tmp_path / "third")))
    change_calibration(third, "return np.full(np.shape(score), 0.75)")
    loaded = [mlflow.pyfunc.load_model(str(folder)) for folder in (other_code, third)]
    assert [model.predict(frame())["probability"].item() for model in loaded] == [OTHER_ANSWER, 0.75]


def test_the_index_of_the_rows_comes_back_from_the_other_process(other_code):
    asked = frame(3).set_index(pd.Index([30, 10, 20]))
    assert mlflow.pyfunc.load_model(str(other_code)).predict(asked).index.tolist() == [30, 10, 20]


def test_a_refusal_of_the_other_process_is_the_same_refusal(other_code, served):
    loaded = mlflow.pyfunc.load_model(str(other_code))
    asked = pd.DataFrame({"image": [example_image(64), b"no image"]})
    with pytest.raises(MlflowException) as own:
        served.predict(asked)
    with pytest.raises(MlflowException) as other:
        loaded.predict(asked)
    assert str(other.value) == str(own.value)
    assert other.value.error_code == own.value.error_code
    too_many = pd.DataFrame({"image": [example_image(64)] * (LIMITS["max_rows"] + 1)})
    with pytest.raises(MlflowException, match="rows, got"):
        loaded.predict(too_many)
    assert len(loaded.predict(frame(2))) == 2  # it goes on after refusals


def test_code_that_cannot_be_run_is_refused_with_its_last_words(model_folder):
    (travelling_code(model_folder) / "schema.py").write_text("raise SystemExit('this code needs Python 2')\n")
    with pytest.raises(
        TrackingError,
        match=(
            r"needs its own version of the code.*exit code 1.*needs Python "
            r"2"
        ),
    ):
        mlflow.pyfunc.load_model(str(model_folder))


def test_a_process_that_was_killed_is_told_by_name(other_code):
    loaded = mlflow.pyfunc.load_model(str(other_code))
    own_process(loaded)._process.kill()
    with pytest.raises(TrackingError, match="exit code -9"):
        loaded.predict(frame())


def test_the_other_process_ends_with_the_model(other_code):
    loaded = mlflow.pyfunc.load_model(str(other_code))
    process = own_process(loaded)._process
    assert process.poll() is None
    loaded.unwrap_python_model()._own_process = None
    assert process.poll() == 0


def test_answers_of_many_rows_stay_with_their_images(model_folder, images, served):
    import io

    from PIL import Image

    encoded = []
    for pixels in images[: LIMITS["max_rows"]]:
        stream = io.BytesIO()
        Image.fromarray(pixels).resize((64, 64)).save(stream, "PNG")
        encoded.append(stream.getvalue())
    change_calibration(model_folder, "# a comment")
    asked = pd.DataFrame({"image": encoded})
    mixed = asked.sample(frac=1, random_state=1)
    answer = mlflow.pyfunc.load_model(str(model_folder)).predict(mixed)["probability"]
    expected = served.predict(asked)["probability"]
    assert expected.nunique() > 30
    np.testing.assert_array_equal(answer.sort_index(), expected)
