"""One trial in a fresh process, as a script that is started for each: no worker, no pruning, no study.

`python -m tests.benchmarks.plain_trial --params P --packed FOLDER --hyperparameters JSON` prints what it did
as JSON. It logs nothing, which our trials do.
"""

import argparse
import json
import sys
import time
from pathlib import Path


def main() -> int:
    """Train once."""
    started = time.perf_counter()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--params", type=Path, required=True)
    parser.add_argument("--packed", type=Path, required=True)
    parser.add_argument("--hyperparameters", type=json.loads, required=True)
    args = parser.parse_args()

    from melanoma import config, schema
    from melanoma.config.training import Hyperparameters
    from melanoma.data.packed import open_packed
    from melanoma.training import fit
    from melanoma.training.recipe import Arrays, Recipe

    params = config.load(args.params)
    data = open_packed(args.packed)
    imported = time.perf_counter()
    trained = fit.train(
        Arrays(data.part(schema.TRAIN), data.part(schema.VALIDATION)),
        Recipe.of(Hyperparameters(**args.hyperparameters), params),
        num_epochs=params.tune.num_epochs,
        seed=params.train.seed,
    )
    ended = time.perf_counter()
    in_epochs = float(trained.history["duration_seconds"].sum())
    about = {
        "num_epochs": len(trained.history),
        "epochs_seconds": in_epochs,
        "import_seconds": imported - started,
        "setup_seconds": ended - imported - in_epochs,
        "value": float(trained.best_epoch[f"val_{params.tune.objective}"]),
    }
    print(json.dumps(about))
    return 0


if __name__ == "__main__":
    sys.exit(main())
