"""Sections of `params.yaml` about results: evaluation, audit, promotion and the report page."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from melanoma.config.types import Fraction, OpenFraction, Positive, Section, Seed, require_current

REPLACED = {  # keys of `promote` in earlier versions
    "must_beat_colour": "must_beat_references, a list of references ([] = off)",
    "max_calibration_error": "calibration_intercept_band, calibration_slope_band and min_brier_skill",
}


def _require_rising(band: list[float]) -> list[float]:
    if not band[0] < band[1]:
        raise ValueError(f"a band must be [low, high] with low < high, got {band}")
    return band


Band = Annotated[
    list[Annotated[float, Field(allow_inf_nan=False)]],
    Field(min_length=2, max_length=2),
    AfterValidator(_require_rising),
]


class Evaluate(Section):
    """Intervals, calibration, operating point, slices and figures."""

    seed: Seed
    num_bootstrap_draws: Annotated[int, Field(ge=100)]
    calibration: Literal["temperature", "logistic", "isotonic", "none"]
    num_calibration_bins: Positive
    min_sensitivity: Annotated[float, Field(gt=0, le=1)]
    sensitivity_confidence: OpenFraction | None
    refer_min_sensitivity: Annotated[float, Field(gt=0, le=1)]
    refer_min_specificity: Annotated[float, Field(gt=0, le=1)]
    max_referred_fraction: Fraction
    prevalences: Annotated[list[OpenFraction], Field(min_length=1)]
    age_bands: list[Positive]
    min_slice_groups: Positive
    num_shown: Positive

    @model_validator(mode="after")
    def _age_bands_rise(self) -> Self:
        if self.age_bands != sorted(set(self.age_bands)):
            raise ValueError(f"age_bands must be in increasing order, got {self.age_bands}")
        return self


class Audit(Section):
    """The search for shortcuts: does the network use the lesion, or something else?"""

    seed: Seed
    num_folds: Annotated[int, Field(ge=2)]
    histogram_bins: Annotated[int, Field(ge=2, le=256)]
    border_fraction: Annotated[float, Field(gt=0, lt=0.5)]
    max_flipped_fraction: Fraction
    max_images: Positive


class Promote(Section):
    """Gates between a trained model and the alias `staging`; null turns a gate off."""

    primary_metric: Literal["auc_roc", "average_precision", "partial_auc_above_80_sensitivity"]
    min_malignant_groups: Positive
    min_auc_roc_lower_bound: Fraction
    min_sensitivity: OpenFraction | None
    min_specificity_at_threshold: Annotated[float, Field(ge=0, lt=1)] | None
    must_beat_references: list[Literal["colour", "file_facts", "lesion_size"]]
    min_groups_not_worse: Positive
    max_primary_drop: Fraction
    max_specificity_drop: Fraction | None
    calibration_intercept_band: Band | None
    calibration_slope_band: Band | None
    min_brier_skill: Annotated[float, Field(lt=1)] | None
    min_worst_slice_auc_roc: Fraction | None
    min_shadow_rows: Positive | None
    shadow_records: Annotated[str, Field(min_length=1)] | None
    shadow_labels: list[Annotated[str, Field(min_length=1)]]

    @model_validator(mode="after")
    def _shadow_rows_are_somewhere(self) -> Self:
        if self.min_shadow_rows is not None and self.shadow_records is None:
            raise ValueError(
                "min_shadow_rows needs shadow_records, the folder or s3://bucket/folder of MELANOMA_RECORDS"
            )
        return self

    @model_validator(mode="before")
    @classmethod
    def _keys_are_current(cls, given: object) -> object:
        return require_current(given, REPLACED)


class Page(Section):
    """Limits of the page with all results."""

    max_picture_width: Annotated[int, Field(ge=200, le=4000)]
    max_megabytes: Annotated[float, Field(gt=0)]
