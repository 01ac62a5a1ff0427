"""Stage `crops`: train networks on whole images and on crops to the lesion, and compare them."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from melanoma import files, lineage, metric_names, schema
from melanoma.config import Params
from melanoma.config.study import Crops
from melanoma.data import crops, lesions, packed, packing, tables
from melanoma.data.crops import Cutting
from melanoma.data.packed import Packed
from melanoma.stages import segment
from melanoma.study import crop_results, experiment, repeats, report_folder
from melanoma.study.experiment import Experiment, NetworkSpec, Outcome
from melanoma.study.repeats import Bootstrap
from melanoma.training import scores
from melanoma.training.fit import Trained

Overlap = tuple[pd.DataFrame, str]  # a table of how well the U-Net segments, and its caption


@dataclass(frozen=True)
class Inputs:
    """Files that the stage reads.

    Attributes:
        split: CSV file of the cohort's splits.
        accepted: Folder of accepted records.
        boxes: Table of lesion boxes of the stage `segment`.
        segmentation: Report of the stage `segment`.
    """

    split: Path
    accepted: Path
    boxes: Path
    segmentation: Path


@dataclass(frozen=True)
class CropExperiment(Experiment):
    """Networks of one recipe on each kind of crop.

    Attributes:
        data: The cohort by kind of crop, packed.
        cuttings: The boxes by kind of crop; None for whole images.
        overlap: How well the U-Net segments, if there is one.
        figures: Folder of tables and figures to write.
    """

    name = "crops"
    data: dict[str, Packed]
    cuttings: dict[str, Cutting | None]
    overlap: Overlap | None
    figures: Path

    @property
    def settings(self) -> Crops:
        """The stage's section of the parameters."""
        return self.params.study.crops

    def networks(self) -> Iterator[NetworkSpec]:
        """All networks, those of the first seed first."""
        hyperparameters = experiment.hyperparameters(self.params, self.settings.recipe)
        for seed in self.settings.seeds:
            for crop, data in self.data.items():
                yield NetworkSpec(
                    title=f"crop {crop}",
                    key={"crop": crop},
                    seed=seed,
                    data=data,
                    arrays=experiment.arrays(data),
                    recipe=experiment.recipe(self.params, hyperparameters, patience=self.settings.patience),
                    num_epochs=self.settings.num_epochs,
                    tags={"model": self.settings.recipe},
                )

    def predict(self, spec: NetworkSpec, result: Trained) -> pd.DataFrame:
        """The network's predictions for the test set."""
        part = spec.data.part(schema.TEST)
        rows = spec.data.rows_of(part)[["image_id", "group_id", "target"]]  # in the order of the part
        return rows.assign(**spec.columns, probability=scores.predict(result.model, part))

    def measure(self, spec: NetworkSpec, predictions: pd.DataFrame) -> dict[str, float]:
        """The network's metrics on the test set."""
        return metric_names.in_section(metric_names.TEST, repeats.measure_single(predictions))

    def summarize(self, outcome: Outcome) -> dict[str, Any]:
        """The content of the cohort's results file."""
        settings, predictions = self.settings, outcome.predictions
        compared = crop_results.compare(predictions, Bootstrap(settings.num_bootstrap_draws, settings.seed))
        for crop, entry in compared.items():
            entry["data_digest"] = self.data[crop].digest
            entry["num_whole"] = _count_uncropped(self.data[crop].index, self.cuttings[crop])
            entry["runs"] = [run for run in outcome.runs if run["crop"] == crop]
        tested = predictions.drop_duplicates("image_id")
        return {
            "cohort": self.cohort,
            "is_synthetic": any(data.is_synthetic for data in self.data.values()),
            "git_commit": lineage.lineage_tags()["git_commit"],
            "protocol": schema.LEAK_FREE,
            "seeds": settings.seeds,
            "recipe": settings.recipe,
            "max_num_epochs": settings.num_epochs,
            "patience": settings.patience,
            "threshold": repeats.PAPER_THRESHOLD,
            "crop_margin_fraction": self.params.pack.crop_margin_fraction,
            "num_test_images": len(tested),
            "num_test_malignant": int(tested["target"].sum()),
            "not_compared": sorted(set(settings.kinds) - set(compared)),
            "crops": compared,
            "in_words": [
                crop_results.finding(crop, entry) for crop, entry in compared.items() if "minus_none" in entry
            ],
        }

    def write_report(self, results: dict[str, Any], outcome: Outcome) -> None:
        """Write tables, a figure and their captions."""
        note = f"cohort {self.cohort}, {results['num_test_images']} test images{_synthetic(results)}"
        found = {"crops.csv": crop_results.table(results["crops"])}
        captions = crop_results.captions(results, note=note)
        if self.overlap is not None:
            found["segmentation.csv"], caption = self.overlap
            captions["segmentation.csv"] = {"caption": caption}
        figure = crop_results.figure(results["crops"], note=note)
        report_folder.write(self.figures, tables=found, figures={"crops.png": figure}, captions=captions)


def run(
    cohort: str,
    params: Params,
    inputs: Inputs,
    *,
    figures: Path,
    results_path: Path,
    predictions_path: Path,
) -> dict[str, Any]:
    """Pack the cohort with each kind of crop, train, compare and write everything.

    Returns:
        The content of the results file.

    Raises:
        DataError: An input has another form.
    """
    assigned = files.read_csv(
        inputs.split, dtype={"image_id": "string", "group_id": "string"}, keep_default_na=False
    )
    columns = [*tables.ACCEPTED_COLUMNS, "diagnosis", "mask_path"]
    records = tables.read_tables(inputs.accepted, params.members(cohort), columns)
    overlap = _read_overlap(inputs.segmentation)
    cuttings = _find_cuttings(inputs.boxes, params, assigned, records)
    folder = Path(params.train.checkpoints) / f"crops-{cohort}-packed"
    with files.exclusive_lock(folder / "lock", f"the packs of crops@{cohort}"):
        for kind, cutting in cuttings.items():
            packing.pack(
                assigned,
                records,
                folder / kind,
                sizes=[experiment.hyperparameters(params, params.study.crops.recipe).image_size],
                execution=params.execution,
                cutting=cutting,
                positive=params.target.positive,
            )
        data = {kind: packed.open_packed(folder / kind) for kind in cuttings}
        results = experiment.run(
            CropExperiment(cohort, params, data, cuttings, overlap, figures),
            results_path=results_path,
            predictions_path=predictions_path,
        )
        shutil.rmtree(folder)
    return results


def _find_cuttings(
    boxes: Path, params: Params, assigned: pd.DataFrame, records: pd.DataFrame
) -> dict[str, Cutting | None]:
    """The boxes by kind of crop, without kinds that crop no image and without `unet` if none is trained.

    Boxes around masks are found here, because the stage `segment` finds them only if `pack.crop` needs them.
    """
    found: dict[str, Cutting | None] = {}
    fractions = {
        "margin_fraction": params.pack.crop_margin_fraction,
        "min_lesion_fraction": params.segment.min_lesion_fraction,
    }
    for kind in params.study.crops.kinds:
        if kind == crops.UNET and not params.segment.train:
            continue
        if kind == crops.MASK:
            table = segment.find_mask_boxes(params, assigned, records)
            cutting: Cutting | None = lesions.cutting(table, kind, **fractions)
        else:
            cutting = lesions.read_cutting(boxes, kind, image_ids=assigned["image_id"], **fractions)
        if cutting is None or cutting.boxes:
            found[kind] = cutting
    return found


def _count_uncropped(index: pd.DataFrame, cutting: Cutting | None) -> dict[str, int]:
    """Number of images by split that are not cropped."""
    boxes = () if cutting is None else cutting.boxes.keys()
    whole = index.loc[~index["image_id"].isin(boxes), "split"]
    return {split: int((whole == split).sum()) for split in schema.SPLITS}


def _read_overlap(path: Path) -> Overlap | None:
    """How well the U-Net segments, from the report of the stage `segment`; None without a U-Net.

    Raises:
        DataError: The file is no such report.
    """
    report = files.read_json(path)
    with files.expect_schema(path):
        if not report["is_trained"]:
            return None
        caption = (
            f"Overlap of the U-Net's lesions with the manual masks (cohort {report['cohort']}"
            f"{_synthetic(report)}, at {report['image_size']} pixels): means over images with a mask, 95 % "
            "intervals over groups. The U-Net was trained on the training set."
        )
        return crop_results.overlap_table(report["splits"]), caption


def _synthetic(results: dict[str, Any]) -> str:
    return ", SYNTHETIC images" if results["is_synthetic"] else ""
