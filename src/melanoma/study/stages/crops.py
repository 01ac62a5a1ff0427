"""What the script `crops` does: packs the cohort in each way, trains, compares, draws."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from melanoma import files, lineage, schema
from melanoma.config import Params
from melanoma.data import crops, lesions, packed
from melanoma.data.crops import Cutting
from melanoma.data.packed import Packed
from melanoma.stages import experiments, segment
from melanoma.study import crop_results, repeats, runs
from melanoma.study.repeats import Draws
from melanoma.study.runs import Arm, Outcome
from melanoma.training import scores
from melanoma.training.fit import Trained


@dataclass(frozen=True)
class Stage(runs.Stage):
    """The crops of a cohort.

    Attributes:
        data: The cohort, packed in each way.
        cuttings: What is cut out in each way; None: nothing.
    """

    name = "crops"
    data: dict[str, Packed]
    cuttings: dict[str, Cutting | None]

    def arms(self) -> Iterator[Arm]:
        """All networks; those of the first seed first, so that an unfinished comparison shows each crop."""
        params, settings = self.params, self.params.study.crops
        for seed in settings.seeds:
            for crop, data in self.data.items():
                yield Arm(
                    title=f"crop {crop}",
                    key={"crop": crop},
                    seed=seed,
                    data=data,
                    arrays=experiments.arrays(data),
                    recipe=runs.recipe(params, params.baseline, patience=settings.patience),
                    num_epochs=settings.num_epochs,
                    tags={"model": "baseline"},
                )

    def score(self, arm: Arm, result: Trained) -> pd.DataFrame:
        """What the network says of every test image."""
        part = arm.data.part(schema.TEST)
        rows = arm.data.rows_of(part)[["image_id", "group_id", "target"]]  # in the order of the part
        return rows.assign(**arm.columns, probability=scores.predict(result.model, part))

    def measure(self, arm: Arm, scored: pd.DataFrame) -> dict[str, float]:
        """The network's metrics on test under the names of the platform."""
        return {f"test_{name}": value for name, value in repeats.measure_once(scored).items()}


def find_cuttings(
    boxes: Path, params: Params, assigned: pd.DataFrame, records: pd.DataFrame
) -> dict[str, Cutting | None]:
    """How images are cropped under each of `crops.kinds` that crops any; no `unet` where none is trained.

    Boxes around masks are found here: the stage `segment` finds them only where `pack.crop` needs them.
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


def pack(
    cuttings: dict[str, Cutting | None],
    params: Params,
    assigned: pd.DataFrame,
    records: pd.DataFrame,
    folder: Path,
) -> dict[str, Packed]:
    """The cohort in each way, below `folder`."""
    for kind, cutting in cuttings.items():
        packed.pack(
            assigned,
            records,
            folder / kind,
            size=params.pack.image_size,
            execution=params.execution,
            cutting=cutting,
        )
    return {kind: packed.open_packed(folder / kind) for kind in cuttings}


def num_whole(index: pd.DataFrame, cutting: Cutting | None) -> dict[str, int]:
    """By split: images that stay whole."""
    boxes = () if cutting is None else cutting.boxes.keys()
    whole = index.loc[~index["image_id"].isin(boxes), "split"]
    return {split: int((whole == split).sum()) for split in schema.SPLITS}


def summarize(stage: Stage, outcome: Outcome) -> dict[str, Any]:
    """What the results file of the cohort holds."""
    settings, predictions = stage.params.study.crops, outcome.predictions
    compared = crop_results.compare(predictions, Draws(settings.num_bootstrap_draws, settings.seed))
    for crop, entry in compared.items():
        entry["data_digest"] = stage.data[crop].digest
        entry["num_whole"] = num_whole(stage.data[crop].index, stage.cuttings[crop])
        entry["runs"] = [run for run in outcome.runs if run["crop"] == crop]
    tested = predictions.drop_duplicates("image_id")
    return {
        "cohort": stage.cohort,
        "is_synthetic": any(data.is_synthetic for data in stage.data.values()),
        "git_commit": lineage.lineage_tags()["git_commit"],
        "protocol": schema.LEAK_FREE,
        "seeds": settings.seeds,
        "max_num_epochs": settings.num_epochs,
        "patience": settings.patience,
        "threshold": repeats.PAPER_THRESHOLD,
        "crop_margin_fraction": stage.params.pack.crop_margin_fraction,
        "num_test_images": len(tested),
        "num_test_malignant": int(tested["target"].sum()),
        "not_compared": sorted(set(settings.kinds) - set(compared)),
        "crops": compared,
        "in_words": [
            crop_results.in_a_sentence(crop, entry)
            for crop, entry in compared.items()
            if "minus_none" in entry
        ],
    }


def read_overlap(path: Path) -> tuple[pd.DataFrame, str] | None:
    """Table and caption of how well the U-Net does, from the report of the stage `segment`; None without one.

    Raises:
        DataError: It is no such report.
    """
    report = files.read_json(path)
    with files.expect_schema(path):
        if not report["is_trained"]:
            return None
        caption = (
            f"How well the U-Net's lesions cover the drawn ones (cohort {report['cohort']}"
            f"{_synthetic(report)}, at {report['image_size']} pixels): means over images with a mask, 95 % "
            "intervals over groups. It learnt from the training split."
        )
        return crop_results.overlap_table(report["splits"]), caption


def _synthetic(results: dict[str, Any]) -> str:
    return ", SYNTHETIC images" if results["is_synthetic"] else ""


def draw(results: dict[str, Any], overlap: tuple[pd.DataFrame, str] | None, out: Path) -> None:
    """Write tables, figure and their captions to the folder `out`.

    Args:
        results: As `summarize` gives them.
        overlap: As `read_overlap` gives it.
        out: The folder to write.
    """
    note = f"cohort {results['cohort']}, {results['num_test_images']} test images{_synthetic(results)}"
    seeds = f"{len(results['seeds'])} networks each"
    captions = {
        "crops.csv": {
            "caption": f"The baseline on whole pictures and on lesions cut out ({note}, {seeds}, leak-free "
            "splits), with 95 % intervals over groups and networks. Images for which there is no box stay "
            f"whole and are counted. At the clinic nobody draws a mask. {schema.NOT_A_DEVICE.capitalize()}."
        },
        "crops.png": {
            "caption": f"AUC by what the network sees, and the paired difference to whole pictures ({note}). "
            f"{schema.NOT_A_DEVICE.capitalize()}.",
            "alt": "Intervals of the AUC of each crop. " + ". ".join(results["in_words"]) + ".",
        },
    }
    with files.atomic_folder(out) as folder:
        files.write_csv(crop_results.table(results["crops"]), folder / "crops.csv")
        figure = crop_results.figure(results["crops"], note=note)
        figure.savefig(folder / "crops.png", dpi=90)
        if overlap is not None:
            table, caption = overlap
            files.write_csv(table, folder / "segmentation.csv")
            captions["segmentation.csv"] = {"caption": caption}
        files.write_json(captions, folder / "captions.json")
