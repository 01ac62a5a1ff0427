"""The checks of images and splits, as expectations of Great Expectations.

`params.yaml: validate` says what the failure of each check means. Range and set expectations pass missing
values: what must be known has its own check, and what could not be measured is no second reason against an
image.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from great_expectations import expectations as gxe

from melanoma.config.data import ImageChecks, Split, TableChecks, Validate
from melanoma.data.checks.validator import Check
from melanoma.data.groups import balance
from melanoma.schema import DERMOSCOPIC, FEMALE, MALE, NEGATIVE, POSITIVE, SPLITS

Rules = dict[str, gxe.Expectation]


def _in_words(low: float | None, high: float | None) -> str:
    if low is None:
        return f"at most {high:g}"
    return f"at least {low:g}" if high is None else f"{low:g} to {high:g}"


def _between(column: str, low: float | None, high: float | None = None) -> gxe.Expectation:
    words = f"{column} {_in_words(low, high)}"
    return gxe.ExpectColumnValuesToBeBetween(column=column, min_value=low, max_value=high, description=words)


def _only(column: str, *values: object) -> gxe.Expectation:
    words = f"{column} is {' or '.join(map(str, values))}"
    return gxe.ExpectColumnValuesToBeInSet(column=column, value_set=list(values), description=words)


def _known(column: str) -> gxe.Expectation:
    return gxe.ExpectColumnValuesToNotBeNull(column=column, description=f"{column} known")


def _unique(column: str) -> gxe.Expectation:
    return gxe.ExpectColumnValuesToBeUnique(column=column, description=f"{column} unique")


def _mean(column: str, low: float | None, high: float, *, words: str) -> gxe.Expectation:
    words = f"{words} {_in_words(low, high)}"
    return gxe.ExpectColumnMeanToBeBetween(column=column, min_value=low, max_value=high, description=words)


def _judged(rules: Rules, severities: ImageChecks | TableChecks) -> list[Check]:
    return [Check(name, getattr(severities, name), rule) for name, rule in rules.items()]


def column_checks(limits: Validate) -> list[Check]:
    """The checks of `check_tables.build_column_table`, whose id is `column`."""
    rules: Rules = {
        "columns_complete": _known("found_type"),
        "types_fit": gxe.ExpectColumnPairValuesToBeEqual(
            column_A="declared_type",
            column_B="found_type",
            ignore_row_if="either_value_is_missing",
            description="found_type equals declared_type",
        ),
    }
    return _judged(rules, limits.table_checks)


def image_checks(limits: Validate) -> list[Check]:
    """The checks of `check_tables.build_image_table`, the most informative reason first."""
    excluded = gxe.ExpectColumnValuesToNotBeInSet(
        column="image_id", value_set=limits.excluded_ids, description="image_id not in validate.excluded_ids"
    )
    rules = {
        "image_id_known": _known("image_id"),
        "image_id_unique": _unique("image_id"),
        "one_image_a_file": _unique("path"),
        "origin_known": _known("is_synthetic"),
        "excluded_by_hand": excluded,
        "not_dermoscopic": _only("image_type", DERMOSCOPIC),
        **_file_rules(limits),
        **_picture_rules(limits),
        **_record_rules(limits),
    }
    return _judged(rules, limits.image_checks)


def _file_rules(limits: Validate) -> Rules:
    return {
        # These two explain why a file does not decode, so they come before `unreadable`.
        "truncated": _only("is_truncated", False),
        "animated": _between("num_frames", None, 1.0),
        "unreadable": _only("decodes", True),
        "extension_contradicts_format": _only("extension_fits", True),
        "mode_not_allowed": _only("mode", *limits.modes),
        "bit_depth_not_allowed": _between("bit_depth", None, float(limits.max_bit_depth)),
        "too_small": _between("smaller_side", float(limits.min_image_side)),
    }


def _picture_rules(limits: Validate) -> Rules:
    return {
        "blurred": _between("sharpness", limits.min_sharpness),
        "bad_exposure": _between("brightness", limits.min_brightness, limits.max_brightness),
        "no_contrast": _between("contrast", limits.min_contrast),
        "no_colour": _between("saturation", limits.min_saturation),
        "clipped": _between("clipped_fraction", None, limits.max_clipped_fraction),
        "dark_border": _between("dark_border_fraction", None, limits.max_dark_border_fraction),
        "hairy": _between("hair_fraction", None, limits.max_hair_fraction),
        "mask_broken": _only("mask_decodes", True),
        "mask_of_other_geometry": _only("mask_fits", True),
        "lesion_tiny": _between("lesion_fraction", limits.min_lesion_fraction),
    }


def _record_rules(limits: Validate) -> Rules:
    return {
        "label_missing": _known("target"),
        "label_unknown": _only("target", NEGATIVE, POSITIVE),
        "label_contradicts_diagnosis": _only("label_fits_diagnosis", True),
        "image_type_not_stated": _known("image_type"),
        "age_out_of_range": _between("age_years", limits.min_age_years, limits.max_age_years),
        "sex_unknown": _only("sex", FEMALE, MALE),
        "licence_missing": _known("licence"),
        "licence_not_allowed": _only("licence", *limits.licences),
        "lesion_of_several_patients": _between("patients_of_lesion", None, 1.0),
        "copy_with_unlike_label": _between("labels_of_copies", None, 1.0),
    }


def served_checks(bounds: Mapping[str, tuple[float | None, float | None]], limits: Validate) -> list[Check]:
    """The checks of images that a served model was asked about; none of them stops anything.

    Args:
        bounds: Lowest and highest value of each image fact at the network's image size, as stored with the
            model; None where there is no bound.
        limits: Section `validate` of params.yaml.
    """
    rules = {
        "answered": _only("is_answered", True),
        "large_enough": _between("smaller_side", float(limits.min_image_side)),
        **{f"{name}_in_bounds": _between(name, low, high) for name, (low, high) in bounds.items()},
    }
    return [Check(name, "warn", rule) for name, rule in rules.items()]


def copy_checks(limits: Validate) -> list[Check]:
    """The checks of `check_tables.build_copy_table`."""
    return _judged({"repeated_file": _only("is_repeated_file", False)}, limits.image_checks)


def outcome_checks(limits: Validate) -> list[Check]:
    """The checks of `check_tables.build_outcome_table`: enough images of both classes must be left."""
    rules: Rules = {
        "enough_images": gxe.ExpectColumnSumToBeBetween(
            column="is_accepted",
            min_value=float(limits.min_images),
            description=f"at least {limits.min_images} accepted images",
        ),
        "class_balance": _mean(
            "accepted_malignant",
            limits.min_malignant_fraction,
            limits.max_malignant_fraction,
            words="fraction positive of the accepted images",
        ),
        "few_quarantined": _mean(
            "is_quarantined", None, limits.max_quarantined_fraction, words="fraction of quarantined images"
        ),
    }
    return _judged(rules, limits.table_checks)


def split_checks(settings: Split, fractions: dict[str, float], prevalence: float) -> list[Check]:
    """The checks of `check_tables.build_split_table`; all are critical.

    Args:
        settings: Section `split` of params.yaml.
        fractions: Expected fraction of images by split.
        prevalence: Fraction of positive images in the cohort.
    """
    rules: Rules = {
        "image_id_known": _known("image_id"),
        "image_id_unique": _unique("image_id"),
        "group_known": _known("group_id"),
        "split_known": _known("split"),
        "split_in_vocabulary": _only("split", *SPLITS),
        "target_known": _known("target"),
        "target_in_vocabulary": _only("target", NEGATIVE, POSITIVE),
        "group_on_one_side": _between("sides_of_group", None, 1.0),
        "bytes_on_one_side": _between("sides_of_bytes", None, 1.0),
    }
    for split in SPLITS:
        rules |= _size_rules(split, settings, fractions[split], prevalence)
    return [Check(name, "critical", rule) for name, rule in rules.items()]


def balance_checks(found: dict[str, Any]) -> list[Check]:
    """The checks of `check_tables.build_balance_table`: a warning for each measure that differs too much.

    Args:
        found: Balance of the sides, from `balance.measure`.
    """
    return [
        Check(
            f"balance of {name}",
            "warn",
            gxe.ExpectColumnMaxToBeBetween(
                column=name,
                max_value=float(found["limit"]),
                description=f"largest standardised difference of a side {_in_words(None, found['limit'])}",
            ),
        )
        for name in balance.widest(found).index
        if np.isfinite(found["limit"])
    ]


def _size_rules(split: str, settings: Split, fraction: float, prevalence: float) -> Rules:
    def near(column: str, value: float, deviation: float, words: str) -> gxe.Expectation:
        return _mean(column, max(value - deviation, 0.0), min(value + deviation, 1.0), words=words)

    share, positive = f"is_{split}", f"malignant_in_{split}"
    return {
        f"{split}_has_both_classes": gxe.ExpectColumnDistinctValuesToContainSet(
            column=positive,
            value_set=[float(NEGATIVE), float(POSITIVE)],
            description=f"negative and positive images in {split}",
        ),
        f"{split}_fraction": near(
            share, fraction, settings.max_fraction_deviation, f"fraction of images in {split}"
        ),
        f"{split}_prevalence": near(
            positive,
            prevalence,
            settings.max_prevalence_deviation,
            f"fraction of positive images in {split}",
        ),
    }
