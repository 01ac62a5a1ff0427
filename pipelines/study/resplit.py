"""Stage `resplit`: does this test side flatter? Simple methods on many other splits of the same images.

Run by `make study`, or by `dvc repro pipelines/study/dvc.yaml:resplit`. Reads params.yaml
sections `resplit`, `assign`, `audit`, `execution`, `model`, `augment` and `train`.
"""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from melanoma import config, files, lineage, tracking
from melanoma.config import Params
from melanoma.config.training import Hyperparameters
from melanoma.data import packed
from melanoma.data.groups import splits
from melanoma.data.packed import Packed
from melanoma.evaluation import references
from melanoma.execution.mapping import imap
from melanoma.stages import experiments
from melanoma.study import resplit_results, runs
from melanoma.training import features
from melanoma.training.recipe import Recipe
from pipelines import _cli


def main(argv: Sequence[str] | None = None) -> int:
    """Write the results, a table and a figure."""
    parser = _cli.parser(__doc__)
    parser.add_argument("--cohort", required=True)
    parser.add_argument("--packed", type=Path, required=True)
    parser.add_argument("--tuning", type=Path, required=True, help="summary of the search")
    parser.add_argument("--out", type=Path, required=True, help="JSON of results to write")
    parser.add_argument("--figures", type=Path, required=True, help="folder of table and figure to write")
    args = parser.parse_args(argv)

    params, found = config.load(args.params), runs.best_of_search(args.tuning)
    data = packed.open_packed(args.packed)
    results = _measure(args.cohort, params, data, found)
    _write(args, params, data, results)
    _log(args, data, results)
    _cli.say(f"resplit@{args.cohort}", resplit_results.finding(results))
    return 0


def _measure(cohort: str, params: Params, data: Packed, found: Hyperparameters) -> dict[str, Any]:
    settings, methods = params.study.resplit, {}
    fractions = splits.fractions_of(params.assign)
    seeds = resplit_results.other_seeds(
        data.index, seed=settings.seed, num=settings.num_splits, fractions=fractions
    )
    for kind, seen in _seen(params, data, found).items():
        auc = partial(
            resplit_results.auc_of_draw,
            features=seen,
            index=data.index,
            settings=params.audit,
            fractions=fractions,
        )
        others = imap(
            auc, seeds, num_items=len(seeds), execution=params.execution, description=kind, unit="split"
        )
        here = resplit_results.auc_on_test(seen, data.index, params.audit)
        methods[kind] = resplit_results.compare(here, np.array(list(others)))
    return {
        "cohort": cohort,
        "is_synthetic": data.is_synthetic,
        "data_digest": data.digest,
        "git_commit": lineage.lineage_tags()["git_commit"],
        "num_images": len(data.index),
        "num_splits": settings.num_splits,
        "seed": settings.seed,
        "methods": methods,
        "correlation": resplit_results.correlation(methods),
    }


def _seen(params: Params, data: Packed, found: Hyperparameters) -> dict[str, pd.DataFrame]:
    """What the regressions see of each image, by method; frozen blocks where the search found some."""
    given = {resplit_results.COLOURS: references.colours_of(data, params.audit)}
    if found.family == "vgg16" and params.model.freeze:
        recipe = Recipe(found, params.model, params.augment, params.train)
        whole = data.at(np.arange(len(data.index)))
        blocks = features.of_frozen_blocks(whole, recipe)
        given[resplit_results.FROZEN] = pd.DataFrame(blocks, index=whole.image_ids)
    return given


def _write(args: argparse.Namespace, params: Params, data: Packed, results: dict[str, Any]) -> None:
    note = experiments.data_note(args.cohort, data)
    with files.atomic_folder(args.figures) as folder:
        files.write_csv(resplit_results.table(results), folder / "resplit.csv")
        figure = resplit_results.figure(results, title=f"other splits of {args.cohort}", note=note)
        figure.savefig(folder / "resplit.png", dpi=params.study.resplit.dots_per_inch)
        files.write_json(resplit_results.captions(results), folder / "captions.json")
    files.write_json(results, args.out)


def _log(args: argparse.Namespace, data: Packed, results: dict[str, Any]) -> None:
    """One run under that of the whole study."""
    tags = experiments.run_tags(args.cohort, data) | {"stage": "resplit", "protocol": "resplit"}
    with (
        runs.open_parent() as parent,
        tracking.open_run(
            experiment=runs.EXPERIMENT,
            name=f"{args.cohort} other splits",
            tags=tags,
            params={name: results[name] for name in ("num_images", "num_splits", "seed", "data_digest")},
            parent_id=parent.run_id,
        ) as run,
    ):
        run.log_metrics(
            {
                f"{kind}_{name}": found[name]
                for kind, found in results["methods"].items()
                for name in ("here", "mean", "sd", "share_below")
            }
        )
        run.log_file(args.out, "resplit")
        run.log_text(experiments.NO_EPOCH, experiments.HISTORY)


if __name__ == "__main__":
    sys.exit(_cli.run(main))
