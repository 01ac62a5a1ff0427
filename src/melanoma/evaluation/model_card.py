"""The model card: use, data, evaluation, limits and open points of a model, filled from files only.

Follows Mitchell et al., Model cards for model reporting, FAT* 2019. What no file records is shown as open.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from melanoma.data.crops import Crop
from melanoma.evaluation.bootstrap import in_words, number_in_words
from melanoma.markdown import markdown
from melanoma.schema import NOT_A_DEVICE, TEST, VALIDATION

OPEN = "**open**"
SHOWN = (
    "auc_roc",
    "partial_auc_above_80_sensitivity",
    "average_precision",
    "sensitivity",
    "specificity",
    "specificity_at_95_sensitivity",
    "balanced_accuracy",
    "accuracy",
    "ppv",
    "npv",
    "f1_score",
    "brier_score",
    "log_loss",
    "expected_calibration_error",
)
SEEN = (
    "sensitivity",
    "sensitivity_lower_bound",
    "specificity",
)  # fields of the evidence of an operating point
SHOWN_OF_SLICES = ("auc_roc", "sensitivity", "specificity")
LIMITS = """\
* The model was evaluated on images of the collections it was trained on. In another clinic, with other
cameras
  and other patients, it may perform worse. This card does not measure that; the study's stage `transfer`, if
  it was run, reports how networks of this kind perform on unseen sources.
* The epoch, the calibration, the threshold and the referral band were chosen on validation images: results on
  them are optimistic.
* Intervals show the variation over other lesions of the same kind, for a fixed model and threshold. If no
image
  is missed, a bootstrap interval is 1.000 to 1.000; its lower end is rather 1 - 3/n for n groups of the
  class.
* Probabilities are calibrated to the prevalence among the validation images; where fewer lesions are
malignant
  they are too high."""


@dataclass(frozen=True)
class Sources:
    """Contents of the files that fill the card.

    Attributes:
        model: `baseline` or `tuned`.
        entry: Entry of the model in `models.json`.
        metrics: Content of `metrics.json`.
        slices: Entries of the model in `slices.json`.
        audit: Content of `audit.json`.
        promotion: Content of `promotion.json`.
        split: Content of `split.json`.
        seeds: Content of `seeds.json`.
        tuning: Content of `tuning.json`.
        licences: Columns `dataset`, `licence`, `attribution`, `images`.
        hyperparameters: Hyperparameters of the model.
        min_slice_groups: Smallest number of groups of a class in a measured slice.
    """

    model: str
    entry: Mapping[str, Any]
    metrics: Mapping[str, Any]
    slices: list[dict[str, Any]]
    audit: Mapping[str, Any]
    promotion: Mapping[str, Any]
    split: Mapping[str, Any]
    seeds: Mapping[str, Any]
    tuning: Mapping[str, Any]
    licences: pd.DataFrame
    hyperparameters: Mapping[str, Any]
    min_slice_groups: int


def write(sources: Sources) -> str:
    """The card in Markdown."""
    parts = [
        _head(sources),
        _use(),
        _data(sources),
        _training(sources),
        _operating_point(sources),
        _metrics(sources),
        _restated(sources),
        _three_way(sources),
        _slices(sources),
        _audit(sources),
        _verdict(sources),
        _limits(sources),
        _reproduce(sources),
    ]
    return "\n\n".join(parts) + "\n"


def _head(sources: Sources) -> str:
    promotion = sources.promotion
    title = f"# {promotion['registered_model']}, version {promotion['version']}"
    kind = (
        "**Trained and evaluated on SYNTHETIC images: it knows nothing about skin.**"
        if sources.metrics["is_synthetic"]
        else "Trained and evaluated on real images."
    )
    return f"{title}\n\n{kind} {NOT_A_DEVICE.capitalize()}."


def _use() -> str:
    return (
        "## Use\n\n"
        "Intended: research on dermoscopic images, comparison of methods, tests of this platform.\n\n"
        "Not intended: any decision about a person; photographs without a dermatoscope; lesions of kinds "
        "that the training images do not show. `refer` means that a person must review the image; `benign` "
        "does not mean that no review is needed."
    )


def _data(sources: Sources) -> str:
    splits = pd.DataFrame(
        [
            {
                "split": name,
                "images": counts["num_images"],
                "groups": counts["num_groups"],
                "malignant": counts["num_malignant"],
                "benign": counts["num_benign"],
            }
            for name, counts in sources.split["splits"].items()
        ]
    )
    return (
        f"## Data\n\nCohort {sources.metrics['cohort']}, digest `{sources.promotion['data_digest'][:16]}`. A "
        "group (same lesion, same patient, copies) lies in one split only.\n\n"
        f"{markdown(splits)}\n\n{_crop(sources)}\n\n{markdown(sources.licences)}"
    )


def _crop(sources: Sources) -> str:
    crop = Crop.from_dict(sources.entry["crop"])
    return f"The network sees {'the whole image' if crop is None else crop.in_words()}, resized to a square."


def _training(sources: Sources) -> str:
    values = pd.DataFrame({"hyperparameter": sources.hyperparameters.keys()})
    values["value"] = [str(value) for value in sources.hyperparameters.values()]
    score, tuning = sources.seeds[sources.model]["val_auc_roc"], sources.tuning
    mean, spread = (number_in_words(score[name]) for name in ("mean", "standard_deviation"))
    seeds = ", ".join(map(str, sources.seeds["seeds"]))
    best = (
        f"trial {tuning['best']['trial']}, {tuning['objective']} {number_in_words(tuning['best']['value'])}"
    )
    return (
        f"## Training\n\nThe network is the {sources.model} one of seed {sources.seeds['kept_seed']}, run "
        f"`{sources.entry['run_id']}`. Over seeds {seeds} its AUC on validation is {mean} on average "
        f"(standard deviation {spread}). The search ran {tuning['num_finished']} trials; its best was "
        f"{best}.\n\n{markdown(values)}"
    )


def _operating_point(sources: Sources) -> str:
    point = sources.entry["operating_point"]
    seen, method = point["evidence"], point["calibration"]["method"]
    threshold, low, high = (number_in_words(point[name]) for name in ("threshold", "refer_from", "refer_to"))
    found = {name: number_in_words(seen[name]) for name in SEEN}
    return (
        f"## Operating point\n\nChosen on {seen['num_images']} validation images, {seen['num_malignant']} of "
        f"them malignant, in {seen['num_malignant_groups']} groups; test images were not used. Calibration: "
        f"{method}.\n\n"
        f"* Threshold {threshold}: sensitivity {found['sensitivity']}, with a lower bound of "
        f"{found['sensitivity_lower_bound']} (exact 95 % interval, by group); specificity "
        f"{found['specificity']}.\n"
        f"* Referred to a person from {low} to {high}: {seen['referred_fraction']:.0%} of the validation "
        f"images. Below it {seen['malignant_called_benign']} malignant images were called benign, above it "
        f"{seen['benign_called_malignant']} benign ones malignant."
    )


def _metrics(sources: Sources) -> str:
    measured = sources.metrics[sources.model]
    table = pd.DataFrame(
        {
            "metric": SHOWN,
            VALIDATION: [in_words(measured[VALIDATION][name]) for name in SHOWN],
            TEST: [in_words(measured[TEST][name]) for name in SHOWN],
        }
    )
    counts = measured[TEST]["three_way"]["counts"]
    confusion = pd.DataFrame([{"truth": truth, **row} for truth, row in counts.items()])
    return (
        "## Metrics\n\nWith 95 % intervals of a bootstrap over groups, at the threshold where one is "
        "needed.\n\n"
        f"{markdown(table)}\n\nAnswers on test by truth:\n\n{markdown(confusion)}"
    )


def _restated(sources: Sources) -> str:
    rows = sources.metrics[sources.model][TEST]["restated"]
    table = pd.DataFrame(
        [
            {
                "malignant among lesions": f"{row['prevalence']:.0%}",
                "ppv": in_words(row["ppv"]),
                "npv": in_words(row["npv"]),
            }
            for row in rows
        ]
    )
    return f"## At other prevalences\n\nIf sensitivity and specificity stay the same:\n\n{markdown(table)}"


def _three_way(sources: Sources) -> str:
    outcome = sources.metrics[sources.model][TEST]["three_way"]
    names = {
        "referred_fraction": "referred to a person, of all images",
        "missed_fraction": "answered benign, of malignant images",
        "false_alarm_fraction": "answered malignant, of benign images",
    }
    lines = [f"* {words}: {in_words(outcome[name])}" for name, words in names.items()]
    return "## With the referral band, on test\n\n" + "\n".join(lines)


def _slices(sources: Sources) -> str:
    table = pd.DataFrame(
        [
            {
                "slice": f"{entry['slice']}: {entry['value']}",
                "images": entry["num_images"],
                "malignant": entry["num_malignant"],
                **{name: _slice_cell(entry[name]) for name in SHOWN_OF_SLICES},
            }
            for entry in sources.slices
        ]
    )
    return (
        "## Slices of the test set\n\n"
        f"*n too small*: fewer than {sources.min_slice_groups} groups of a class that the metric needs.\n\n"
        f"{markdown(table)}"
    )


def _slice_cell(entry: Mapping[str, float | None]) -> str:
    return "n too small" if entry["value"] is None else in_words(entry)


def _audit(sources: Sources) -> str:
    variants = pd.DataFrame(
        [
            {
                "images": name,
                "number": entry["num_images"],
                "AUC": in_words(entry["auc_roc"]),
                "mean probability change": entry["mean_probability_change"],
                "flipped decisions": f"{entry['flipped_fraction']:.0%}",
            }
            for name, entry in sources.audit["variants"].items()
        ]
    )
    references = pd.DataFrame(
        [
            {
                "logistic regression on": name,
                "AUC": in_words(entry["auc_roc"]),
                "network minus reference": in_words(entry["selected_minus_reference"]),
            }
            for name, entry in sources.audit["references"].items()
        ]
    )
    warnings = "\n".join(f"* {text}" for text in sources.audit["warnings"]) or "No warning."
    tables = f"{markdown(variants)}\n\n{markdown(references)}"
    return f"## Does the network look at the lesion?\n\n{tables}\n\n{warnings}"


def _verdict(sources: Sources) -> str:
    promotion = sources.promotion
    table = pd.DataFrame(
        [
            {"gate": gate["name"], "passed": _passed(gate), "in words": gate["words"]}
            for gate in promotion["gates"]
        ]
    )
    said = "passed and holds the alias staging" if promotion["is_promoted"] else "refused"
    looks = promotion["looks"]
    return (
        f"## Gates\n\nVerdict: **{said}**.\n\n{markdown(table)}\n\n{_champion(promotion)}"
        f"This test set has been used {looks['num_looks']} times for {looks['num_models']} models, "
        f"{looks['num_choices']} times to choose a model; uses by the study are not counted. Results on a "
        "test set become more optimistic with each use."
    )


def _champion(promotion: Mapping[str, Any]) -> str:
    """Which code scored the champion, if there was one."""
    if "champion_scored_by" not in promotion:
        return ""
    refused = len(promotion["refused_by_champion"])
    left_out = f" It refused {refused} images, which are left out for both." if refused else ""
    return f"The champion was scored by {promotion['champion_scored_by']}.{left_out}\n\n"


def _passed(gate: Mapping[str, Any]) -> str:
    if not gate["is_judged"]:
        return "not judged"
    return "yes" if gate["is_passed"] else "NO"


def _limits(sources: Sources) -> str:
    lines = [LIMITS]
    malignant = sources.metrics[sources.model][TEST]["num_malignant"]
    if malignant:
        lines.append(
            f"* The test set has {malignant} malignant images: each one that is found or missed changes the "
            f"sensitivity by {1 / malignant:.3f}."
        )
    lines += [
        f"* {OPEN}: performance on images of a clinic that no training image comes from.",
        f"* {OPEN}: skin tone, where the data do not record it."
        if not any(entry["slice"] == "skin_type" for entry in sources.slices)
        else "* Skin type is recorded; see the slices above.",
        f"* {OPEN}: comparison with dermatologists on the same images.",
    ]
    return "## Limits and open points\n\n" + "\n".join(lines)


def _reproduce(sources: Sources) -> str:
    name = sources.promotion["registered_model"]
    return (
        "## Reproduce\n\n"
        "`dvc repro` trains it again; `python -m pipelines.trace "
        f"models:/{name}/{sources.promotion['version']}` prints "
        "its images, hashes, commit and environment, and checks them."
    )
