"""Sections of `params.yaml` about data: sources, checks, groups, splits and packed images."""

from typing import Annotated, Literal, Self, get_args

from pydantic import Field, model_validator

from melanoma.config.types import (
    Fraction,
    HueDegrees,
    Names,
    OpenFraction,
    Positive,
    Section,
    Seed,
    require_current,
)


class Run(Section):
    """The active datasets and cohorts."""

    datasets: Names
    cohorts: Names


class Execution(Section):
    """Where work runs, and the number of processes for work on images."""

    backend: Literal["processes", "ray"]
    num_workers: Annotated[int, Field(ge=0)]
    ray_address: str | None


class Sample(Section):
    """The synthetic default dataset."""

    seed: Seed
    num_lesions: Annotated[int, Field(ge=10, le=9999)]
    num_second_views: Annotated[int, Field(ge=0)]
    malignant_fraction: OpenFraction
    malignant_disorder: Annotated[float, Field(ge=-10, le=10)]
    image_size: Annotated[int, Field(ge=160)]

    @model_validator(mode="after")
    def _second_views_have_a_first(self) -> Self:
        if self.num_second_views > self.num_lesions:
            raise ValueError(
                "num_second_views must not exceed num_lesions, "
                f"got {self.num_second_views} and {self.num_lesions}"
            )
        return self


class Fetch(Section):
    """Downloads from the ISIC Archive."""

    api_url: Annotated[str, Field(pattern=r"^https?://.*/$")]
    page_size: Annotated[int, Field(ge=1, le=100)]
    num_connections: Annotated[int, Field(ge=1, le=64)]
    num_retries: Annotated[int, Field(ge=0)]
    backoff_seconds: Annotated[float, Field(ge=0)]
    max_wait_seconds: Annotated[int, Field(ge=0)]
    timeout_seconds: Annotated[float, Field(gt=0)]


class Ingest(Section):
    """Licence and attribution of a dataset, for images whose rows name none."""

    licence: str | None
    attribution: str | None


# The classes of `schema`, which a test compares: digests of code leave out what `config` imports.
MalignantClass = Literal["melanoma", "basal cell carcinoma", "actinic keratosis or squamous cell carcinoma"]
BenignClass = Literal["nevus", "benign keratosis", "vascular lesion", "dermatofibroma"]
DiagnosisClass = Literal[MalignantClass, BenignClass, "other"]


class Target(Section):
    """What counts as positive."""

    positive: Annotated[list[DiagnosisClass], Field(min_length=1)]
    malignant_without_diagnosis: Literal["exclude", "positive"]

    @model_validator(mode="after")
    def _some_classes_are_positive(self) -> Self:
        num_known = len(get_args(DiagnosisClass))
        if len(set(self.positive)) < len(self.positive) or len(self.positive) == num_known:
            raise ValueError(
                f"positive must name each class once and not all {num_known}, got {self.positive}"
            )
        malignant = get_args(MalignantClass)
        if self.malignant_without_diagnosis == "positive" and not set(self.positive) & set(malignant):
            raise ValueError(
                f"malignant_without_diagnosis: positive requires one of {list(malignant)} in positive, got "
                f"{self.positive}"
            )
        return self


class Inspect(Section):
    """How facts about images are measured."""

    working_size: Annotated[int, Field(ge=64)]
    clipping_level: Fraction
    dark_border_max_brightness: Fraction
    hair_max_width: Annotated[int, Field(ge=3)]
    hair_min_length: Annotated[int, Field(ge=3)]
    hair_min_depth: Fraction
    ink_min_hue_degrees: HueDegrees
    ink_max_hue_degrees: HueDegrees
    ink_min_saturation: Fraction
    ink_min_brightness: Fraction
    ink_min_colour_distance: Annotated[float, Field(ge=0)]
    skin_centre_radius: Annotated[float, Field(gt=0, le=0.5)]
    skin_min_fraction: OpenFraction

    @model_validator(mode="after")
    def _hues_are_a_range(self) -> Self:
        low, high = self.ink_min_hue_degrees, self.ink_max_hue_degrees
        if low > high:
            raise ValueError(
                f"ink_min_hue_degrees must not exceed ink_max_hue_degrees, got {low:g} and {high:g}"
            )
        return self


Severity = Literal["critical", "quarantine", "warn"]
TableSeverity = Literal["critical", "warn"]


class ImageChecks(Section):
    """Severity of each check of single images."""

    image_id_known: Severity
    image_id_unique: Severity
    one_image_a_file: Severity
    origin_known: Severity
    excluded_by_hand: Severity
    not_dermoscopic: Severity
    unreadable: Severity
    truncated: Severity
    animated: Severity
    extension_contradicts_format: Severity
    mode_not_allowed: Severity
    bit_depth_not_allowed: Severity
    too_small: Severity
    blurred: Severity
    bad_exposure: Severity
    no_contrast: Severity
    no_colour: Severity
    clipped: Severity
    dark_border: Severity
    hairy: Severity
    mask_broken: Severity
    mask_of_other_geometry: Severity
    lesion_tiny: Severity
    label_missing: Severity
    label_unknown: Severity
    label_contradicts_diagnosis: Severity
    image_type_not_stated: Severity
    age_out_of_range: Severity
    sex_unknown: Severity
    licence_missing: Severity
    licence_not_allowed: Severity
    lesion_of_several_patients: Severity
    copy_with_unlike_label: Severity
    repeated_file: Severity


class TableChecks(Section):
    """Severity of each check of a whole table."""

    columns_complete: TableSeverity
    types_fit: TableSeverity
    enough_images: TableSeverity
    class_balance: TableSeverity
    few_quarantined: TableSeverity


class Validate(Section):
    """Limits and severities of the checks."""

    min_image_side: Positive
    modes: Names
    max_bit_depth: Positive
    min_sharpness: Annotated[float, Field(ge=0)]
    min_brightness: Fraction
    max_brightness: Fraction
    min_contrast: Fraction
    min_saturation: Fraction
    max_clipped_fraction: Fraction
    max_dark_border_fraction: Fraction
    max_hair_fraction: Fraction
    min_lesion_fraction: Fraction
    min_age_years: Annotated[float, Field(ge=0)]
    max_age_years: Annotated[float, Field(ge=0)]
    licences: Names
    min_images: Positive
    min_malignant_fraction: Fraction
    max_malignant_fraction: Fraction
    max_quarantined_fraction: Fraction
    excluded_ids: list[str]
    image_checks: ImageChecks
    table_checks: TableChecks

    @model_validator(mode="after")
    def _ranges_are_not_empty(self) -> Self:
        for name in ("brightness", "age_years", "malignant_fraction"):
            low, high = getattr(self, f"min_{name}"), getattr(self, f"max_{name}")
            if low > high:
                raise ValueError(f"min_{name} must not exceed max_{name}, got {low:g} and {high:g}")
        return self


class Card(Section):
    """The data card and its search for shortcuts."""

    seed: Seed
    num_folds: Annotated[int, Field(ge=2)]
    num_bootstrap_draws: Annotated[int, Field(ge=100)]


class Duplicates(Section):
    """When two images are duplicates."""

    max_distance: Annotated[int, Field(ge=0, le=7)]
    min_correlation: Fraction
    fine_structure_sigma: Annotated[float, Field(gt=0)]
    known_pairs: list[Annotated[list[str], Field(min_length=2, max_length=2)]]

    @model_validator(mode="after")
    def _known_pairs_name_two_images(self) -> Self:
        alike = [one for one, other in self.known_pairs if one == other]
        if alike:
            raise ValueError(
                f"known_pairs must have two different images each, got the same image twice: {alike[:5]}"
            )
        return self


AssignRule = Literal["relative_shortage", "absolute_shortage"]


class Assign(Section):
    """The group-disjoint, stratified split of all active datasets together."""

    rule: AssignRule
    seed: Seed
    train_fraction: OpenFraction
    validation_fraction: OpenFraction
    test_fraction: OpenFraction

    @model_validator(mode="after")
    def _fractions_add_to_one(self) -> Self:
        total = self.train_fraction + self.validation_fraction + self.test_fraction
        if abs(total - 1) > 1e-9:
            raise ValueError(f"train, validation and test fractions must add to 1, got {total:g}")
        return self


class Split(Section):
    """Limits for the splits of a cohort."""

    max_fraction_deviation: Fraction
    max_prevalence_deviation: Fraction


class Pack(Section):
    """How the packed images are cropped."""

    crop: Literal["none", "mask", "unet"]
    crop_margin_fraction: Annotated[float, Field(ge=0, le=2)]

    @model_validator(mode="before")
    @classmethod
    def _keys_are_current(cls, given: object) -> object:
        return require_current(given, {"image_size": "image_size of baseline and backbone"})
