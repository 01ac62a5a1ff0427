"""Stage `resplit`: fit and test simple methods on many other splits of the same images."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd

from melanoma import files, metric_names, tracking
from melanoma.config import Params
from melanoma.config.training import Hyperparameters
from melanoma.data import packed
from melanoma.data.groups import splits
from melanoma.data.packed import Packed
from melanoma.evaluation import references
from melanoma.execution.mapping import imap
from melanoma.models import head
from melanoma.models.builders import build_model
from melanoma.registry import looks, versions
from melanoma.stages import experiments, test_set_looks
from melanoma.study import experiment, report_folder, resplit_results
from melanoma.training import features, scores
from melanoma.training.recipe import Recipe

NAME = "resplit"


def run(
    cohort: str, params: Params, packed_folder: Path, *, tuning: Path, results_path: Path, figures: Path
) -> dict[str, Any]:
    """Measure, write the results, a table and a figure, and log one run.

    Args:
        cohort: Name of the cohort.
        params: All parameters.
        packed_folder: The packed cohort.
        tuning: Summary of the search.
        results_path: JSON file to write.
        figures: Folder of table and figure to write.

    Returns:
        The content of the results file.
    """
    tuned = experiment.best_of_search(tuning)
    data = packed.open_packed(packed_folder)
    results = _measure(cohort, params, data, tuned)
    title, note = f"other splits of {cohort}", experiments.data_note(cohort, data)
    report_folder.write(
        figures,
        tables={"resplit.csv": resplit_results.table(results)},
        figures={"resplit.png": resplit_results.figure(results, title=title, note=note)},
        captions=resplit_results.captions(results),
        dots_per_inch=params.study.resplit.dots_per_inch,
    )
    files.write_json(results, results_path)
    _log(results, results_path, data)
    return results


def _measure(cohort: str, params: Params, data: Packed, tuned: Hyperparameters) -> dict[str, Any]:
    settings, methods = params.study.resplit, {}
    plan = replace(splits.Plan.of(params.assign), seed=settings.seed)
    seeds = resplit_results.find_seeds(data.index, plan, num=settings.num_splits)
    for kind, features_of_kind in _features(params, data, tuned).items():
        auc = partial(
            resplit_results.auc_of_draw,
            features=features_of_kind,
            index=data.index,
            settings=params.audit,
            plan=plan,
        )
        others = imap(
            auc, seeds, num_items=len(seeds), execution=params.execution, description=kind, unit="split"
        )
        here = resplit_results.auc_on_test(features_of_kind, data.index, params.audit)
        methods[kind] = resplit_results.compare(here, np.array(list(others)))
    return experiment.describe_data(cohort, data) | {
        "num_images": len(data.index),
        "num_splits": settings.num_splits,
        "seed": settings.seed,
        "methods": methods,
        "correlation": resplit_results.correlation(methods),
    }


def _features(params: Params, data: Packed, tuned: Hyperparameters) -> dict[str, pd.DataFrame]:
    """Features of each image by method; those of frozen blocks only if the search found them."""
    found = {
        resplit_results.COLOURS: references.colours_of(data.of_size(params.baseline.image_size), params.audit)
    }
    if tuned.has_frozen_features:
        recipe = Recipe.of(tuned, params)
        whole = data.of_size(tuned.image_size).at(np.arange(len(data.index)))
        blocks = features.of_frozen_blocks(whole, recipe)
        found[resplit_results.FROZEN] = pd.DataFrame(blocks, index=whole.image_ids)
    if params.study.resplit.backbone_features:
        found[resplit_results.BACKBONE] = _features_of_backbone(params, data)
    return found


def _features_of_backbone(params: Params, data: Packed) -> pd.DataFrame:
    """What the head of the backbone takes, of each image, with the weights that training starts from.

    A fine-tuned network has seen the images of its training side, which are test images of other splits.
    """
    keras.utils.set_random_seed(params.study.resplit.seed)  # for what has no pretrained weights
    network = build_model(params.backbone, params.model, image_size=params.backbone.image_size)
    whole = data.of_size(params.backbone.image_size).at(np.arange(len(data.index)))
    return pd.DataFrame(scores.predict_all(head.cut(network)[0], whole), index=whole.image_ids)


def _record_looks(results: dict[str, Any], data: Packed, run: tracking.Run) -> None:
    """One look a method: it tests every image in some split, and no choice follows from any of them."""
    seen = test_set_looks.images(data, data.index["image_id"])
    for kind in results["methods"]:
        looks.record(
            versions.model_name(results["cohort"]),
            images=seen,
            model=kind,
            model_digest=f"run {run.run_id} {kind}",
            purpose=NAME,
            run_id=run.run_id,
        )


def _log(results: dict[str, Any], results_path: Path, data: Packed) -> None:
    """Log one run under the parent run of the study."""
    with (
        experiment.open_parent_run() as parent,
        tracking.open_run(
            experiment=experiment.MLFLOW_EXPERIMENT,
            name=f"{results['cohort']} other splits",
            tags=experiments.run_tags(results["cohort"], data) | {"stage": NAME, "protocol": NAME},
            params={name: results[name] for name in ("num_images", "num_splits", "seed", "data_digest")},
            note=f"AUC of simple methods on {results['num_splits']} other splits of cohort "
            f"{results['cohort']}; no network is trained.",
            parent_id=parent.run_id,
        ) as run,
    ):
        values = {
            f"{kind}_{name}": found[name]
            for kind, found in results["methods"].items()
            for name in ("here", "mean", "sd", "share_below")
        }
        run.log_metrics(metric_names.in_section(metric_names.RESPLIT, values))
        _record_looks(results, data, run)
        run.log_file(results_path, NAME)
        run.log_text(experiments.NO_EPOCH, experiments.HISTORY)
