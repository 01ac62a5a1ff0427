"""Unlike images through the whole pipeline on the synthetic sample."""

import io
import json
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
from PIL import Image
from sklearn.datasets import load_sample_image

from melanoma.data.images import read_bytes
from melanoma.fingerprint import sha256_of_file
from melanoma.scoring.unlike import Unlike


def read(name: str) -> dict:
    return json.loads(Path(f"reports/sample/{name}.json").read_text())


def test_each_model_describes_its_training_images(at_workspace):
    for model, entry in ((name, read("models")[name]) for name in ("baseline", "tuned")):
        path = Path(f"reports/sample/unlike/{model}.npz")
        assert entry["unlike"]["sha256"] == sha256_of_file(path)
        assert entry["unlike"]["max_distance"] == Unlike.load(path).max_distance


def test_few_images_of_the_sample_are_unlike_its_training_images(at_workspace):
    for model in ("baseline", "tuned"):
        for split in ("validation", "test"):
            measured = read("metrics")[model][split]["unlike"]
            assert measured["num_referred"] <= 0.2 * measured["all"]["num_images"]
            assert measured["all"]["auc_roc"] == read("metrics")[model][split]["auc_roc"]


def test_training_images_are_not_predicted(at_workspace):
    assert set(pd.read_csv("reports/sample/predictions.csv")["split"]) == {"validation", "test"}


def test_a_photograph_is_referred_and_images_of_the_sample_are_answered_as_evaluated(at_workspace):
    models, predictions = read("models"), pd.read_csv("reports/sample/predictions.csv")
    model = models["selected"]
    mine = predictions[predictions["model"] == model].tail(5)
    paths = pd.read_parquet("data/accepted/sample.parquet").set_index("image_id")["path"]
    stream = io.BytesIO()
    Image.fromarray(load_sample_image("china.jpg")).save(stream, "PNG")
    encoded = [stream.getvalue(), *(read_bytes(Path(paths[name])) for name in mine["image_id"])]
    answer = mlflow.pyfunc.load_model(models[model]["model_uri"]).predict(pd.DataFrame({"image": encoded}))
    assert answer["decision"][0] == "refer"
    assert answer["reason"][0] is not None
    assert answer["decision"].tolist()[1:] == mine["decision"].tolist()
    expected = [None if pd.isna(reason) else reason for reason in mine["reason"]]
    assert [reason is None for reason in answer["reason"][1:]] == [reason is None for reason in expected]
    np.testing.assert_allclose(answer["probability"][1:], mine["probability"], atol=1e-5)
