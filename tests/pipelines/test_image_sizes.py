"""One study whose networks take images of two sizes, from `pack` to `promote`."""

from pathlib import Path

import numpy as np
import pandas as pd

from melanoma.data import packed
from melanoma.files import read_json, write_json
from melanoma.serving.network import Network
from tests.pipelines.workspace import change_params, run_stage

TUNING = Path("reports/sample/tuning.json")


def test_each_network_is_trained_scored_and_judged_at_its_own_size(own):
    space = dict.fromkeys(["learning_rate", "depth"]) | {"image_size": {"choices": [48, 64]}}
    change_params(
        Path("params.yaml"),
        train={"num_epochs": 1, "num_seeds": 1},
        tune={"num_trials": 2, "num_epochs": 1, "num_startup_trials": 1},
        **{"tune.space": space},
    )
    for stage in ("pack", "tune"):
        assert run_stage(stage) == 0
    tuning = read_json(TUNING)
    tuning["best"]["hyperparameters"]["image_size"] = 64  # whichever size happened to win
    write_json(tuning, TUNING)
    for stage in ("train", "evaluate", "audit", "promote"):
        assert run_stage(stage) == 0
    data = packed.open_packed(Path("data/packed/sample"))
    assert sorted(data.sizes) == [48, 64]
    predictions = pd.read_csv("reports/sample/predictions.csv").set_index("image_id")
    for model, size in (("baseline", 48), ("tuned", 64)):
        network = Network(Path(f"models/sample/{model}/model.onnx"))
        assert network.image_size == size
        tested = data.of_size(size).part("test")
        scored = predictions.loc[predictions["model"] == model, "score"]
        np.testing.assert_allclose(
            scored.loc[tested.image_ids], network.score(tested.take(slice(None))), atol=1e-6
        )
    judged = read_json(Path("reports/sample/promotion.json"))
    assert judged["num_images"] == len(data.part("test"))  # the champion takes 48 pixels
    assert judged["looks"]["num_looks"] > 3  # those before the second size was packed count
