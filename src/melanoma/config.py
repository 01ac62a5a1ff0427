"""Typed parameters: `params.yaml` read whole, checked whole, handed out by section.

The file is the only place of a value; there are no defaults here. It is read with the YAML 1.2 rules
that DVC uses, so code and DVC agree on what `3e-4` is.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from melanoma.errors import ConfigError

Fraction = Annotated[float, Field(ge=0, le=1)]
OpenFraction = Annotated[float, Field(gt=0, lt=1)]
Positive = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9_-]+$")]  # part of paths and of registered names
Names = Annotated[list[str], Field(min_length=1)]


class Section(BaseModel):
    """A section of `params.yaml`: unknown keys and wrong types are refused, values are frozen."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Run(Section):
    """The active datasets and cohorts."""

    datasets: Names
    cohorts: Names


class Execution(Section):
    """How work on images is spread."""

    num_workers: Annotated[int, Field(ge=0)]


class Sample(Section):
    """The synthetic default dataset."""

    seed: Seed
    num_lesions: Annotated[int, Field(ge=10, le=9999)]
    num_second_views: Annotated[int, Field(ge=0)]
    malignant_fraction: OpenFraction
    image_size: Annotated[int, Field(ge=160)]

    @model_validator(mode="after")
    def _second_views_have_a_first(self) -> Self:
        if self.num_second_views > self.num_lesions:
            raise ValueError(
                "num_second_views must not exceed num_lesions, "
                f"got {self.num_second_views} and {self.num_lesions}"
            )
        return self


class Ingest(Section):
    """What is known of a whole dataset where its rows are silent."""

    licence: str | None
    attribution: str | None


class Inspect(Section):
    """At which size facts about pictures are measured."""

    working_size: Annotated[int, Field(ge=64)]


class Validate(Section):
    """Limits of the checks; `melanoma.data.checks` says which stop the graph."""

    min_image_side: Positive
    min_sharpness: Annotated[float, Field(ge=0)]
    min_brightness: Fraction
    max_brightness: Fraction
    min_contrast: Fraction
    min_age_years: Annotated[float, Field(ge=0)]
    max_age_years: Annotated[float, Field(ge=0)]
    licences: Names
    min_images: Positive
    min_malignant_fraction: Fraction
    max_malignant_fraction: Fraction
    max_quarantined_fraction: Fraction

    @model_validator(mode="after")
    def _ranges_are_not_empty(self) -> Self:
        for name in ("brightness", "age_years", "malignant_fraction"):
            low, high = getattr(self, f"min_{name}"), getattr(self, f"max_{name}")
            if low > high:
                raise ValueError(f"min_{name} must not exceed max_{name}, got {low:g} and {high:g}")
        return self


class Split(Section):
    """Group-disjoint, stratified splits."""

    seed: Seed
    train_fraction: OpenFraction
    validation_fraction: OpenFraction
    test_fraction: OpenFraction
    near_duplicate_max_distance: Annotated[int, Field(ge=0, le=32)]
    near_duplicate_min_correlation: Fraction

    @model_validator(mode="after")
    def _fractions_add_to_one(self) -> Self:
        total = self.train_fraction + self.validation_fraction + self.test_fraction
        if abs(total - 1) > 1e-9:
            raise ValueError(f"train, validation and test fractions must add to 1, got {total:g}")
        return self


class Pack(Section):
    """The size of the images that networks see."""

    image_size: Annotated[int, Field(ge=32)]


class Augment(Section):
    """Random warps of training images."""

    rotation_degrees: Annotated[float, Field(ge=0, le=360)]
    horizontal_shift_fraction: Fraction
    vertical_shift_fraction: Fraction
    zoom_fraction: Annotated[float, Field(ge=0, lt=1)]
    flips: bool


class Baseline(Section):
    """The reference network's own hyperparameters."""

    depth: Annotated[int, Field(ge=1, le=5)]
    learning_rate: Annotated[float, Field(gt=0, lt=1)]


class Model(Section):
    """What all networks of a study share."""

    family: Literal["conv_blocks"]
    filters: Annotated[list[Positive], Field(min_length=1)]
    dense_units: Positive


class Train(Section):
    """Fitting of the baseline and of the tuned network."""

    seed: Seed
    num_epochs: Positive
    batch_size: Positive
    balance_classes: bool
    monitor: Literal["val_loss", "val_accuracy", "val_auc_roc"]
    patience: Positive


class Tune(Section):
    """The study around the baseline."""

    seed: Seed
    num_trials: Positive
    num_epochs: Positive
    min_learning_rate: Annotated[float, Field(gt=0, lt=1)]
    max_learning_rate: Annotated[float, Field(gt=0, lt=1)]
    min_depth: Annotated[int, Field(ge=1, le=5)]
    max_depth: Annotated[int, Field(ge=1, le=5)]
    num_startup_trials: Annotated[int, Field(ge=0)]
    num_warmup_epochs: Annotated[int, Field(ge=0)]
    storage: Annotated[str, Field(min_length=1)]

    @model_validator(mode="after")
    def _ranges_are_not_empty(self) -> Self:
        if self.min_learning_rate > self.max_learning_rate:
            raise ValueError(
                "min_learning_rate must not exceed max_learning_rate, "
                f"got {self.min_learning_rate:g} and {self.max_learning_rate:g}"
            )
        if self.min_depth > self.max_depth:
            raise ValueError(
                f"min_depth must not exceed max_depth, got {self.min_depth} and {self.max_depth}"
            )
        return self


class Evaluate(Section):
    """Intervals and the operating point."""

    seed: Seed
    num_bootstrap_draws: Annotated[int, Field(ge=100)]
    min_sensitivity: Annotated[float, Field(gt=0, le=1)]


class Promote(Section):
    """The gates between a trained model and the alias `staging`."""

    seed: Seed
    num_bootstrap_draws: Annotated[int, Field(ge=100)]
    min_auc_roc_lower_bound: Fraction
    max_auc_roc_drop: Fraction
    min_malignant_groups: Positive


class Params(Section):
    """All of `params.yaml`."""

    run: Run
    cohorts: dict[Name, Names]
    execution: Execution
    sample: Sample
    ingest: dict[str, Ingest]
    inspect: Inspect
    # Under its own name it would hide a method of pydantic's.
    checks: Annotated[Validate, Field(alias="validate")]
    split: Split
    pack: Pack
    augment: Augment
    baseline: Baseline
    model: Model
    train: Train
    tune: Tune
    evaluate: Evaluate
    promote: Promote

    @model_validator(mode="after")
    def _names_are_known(self) -> Self:
        _require_known("run.cohorts", self.run.cohorts, self.cohorts)
        _require_known("run.datasets", self.run.datasets, self.ingest)
        for cohort, members in self.cohorts.items():
            _require_known(f"cohorts.{cohort}", members, self.ingest)
        for cohort in self.run.cohorts:
            inactive = sorted(set(self.cohorts[cohort]) - set(self.run.datasets))
            if inactive:
                raise ValueError(f"cohort {cohort!r} needs the datasets {inactive}; add them to run.datasets")
        return self

    @model_validator(mode="after")
    def _baseline_is_in_the_search_space(self) -> Self:
        tune, baseline = self.tune, self.baseline
        if not tune.min_depth <= baseline.depth <= tune.max_depth:
            raise ValueError(
                f"baseline.depth must lie between tune.min_depth and tune.max_depth, got {baseline.depth}"
            )
        if not tune.min_learning_rate <= baseline.learning_rate <= tune.max_learning_rate:
            raise ValueError(
                "baseline.learning_rate must lie between tune.min_learning_rate and "
                f"tune.max_learning_rate, got {baseline.learning_rate:g}"
            )
        if len(self.model.filters) < tune.max_depth:
            raise ValueError(
                f"model.filters needs {tune.max_depth} entries, one for each block of tune.max_depth, "
                f"got {len(self.model.filters)}"
            )
        return self

    @model_validator(mode="after")
    def _images_are_large_enough_for_the_deepest_network(self) -> Self:
        side = self.pack.image_size
        for _ in range(self.tune.max_depth):
            side = (side - 2) // 2  # a 3 x 3 convolution without padding, then 2 x 2 pooling
        if side < 1:
            raise ValueError(
                f"pack.image_size {self.pack.image_size} leaves no pixel after tune.max_depth "
                f"{self.tune.max_depth} blocks; raise the one or lower the other"
            )
        return self

    def members(self, cohort: str) -> list[str]:
        """The datasets of `cohort`.

        Raises:
            ConfigError: No such cohort.
        """
        if cohort not in self.cohorts:
            raise ConfigError(f"no cohort {cohort!r} in params.yaml; there are {sorted(self.cohorts)}")
        return self.cohorts[cohort]


def _require_known(key: str, names: list[str], known: Mapping[str, object]) -> None:
    if len(set(names)) < len(names):
        raise ValueError(f"{key} names something twice, got {names}")
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise ValueError(f"{key} names {unknown}; known are {sorted(known)}")


def load(path: Path) -> Params:
    """Read and check the whole of `path`.

    Raises:
        ConfigError: Missing or unreadable file, unknown or missing key, wrong type, value out of
            range; the message names every offending key.
    """
    try:
        content = YAML(typ="safe", pure=True).load(path)
    except FileNotFoundError as error:
        raise ConfigError(f"{path} does not exist; run from the top of the repository.") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}).") from error
    except YAMLError as error:
        raise ConfigError(f"{path} is no YAML: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path} must be a mapping of sections, got {type(content).__name__}.")
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        raise ConfigError(_describe(path, error)) from error


def _describe(path: Path, error: ValidationError) -> str:
    lines = [_describe_one(problem) for problem in error.errors()]
    return f"{path} has {len(lines)} problem(s):\n" + "\n".join(f"  {line}" for line in lines)


def _describe_one(problem) -> str:  # type: ignore[no-untyped-def]  # pydantic's ErrorDetails
    key = ".".join(str(part) for part in problem["loc"])
    match problem["type"]:
        case "extra_forbidden":
            return f"{key}: unknown key; remove it or correct its name"
        case "missing":
            return f"{key}: missing; see the committed params.yaml"
        case "value_error":
            return problem["msg"].removeprefix("Value error, ") + (f" (in {key})" if key else "")
    received = problem["input"]
    return f"{key}: {problem['msg']}, got {received!r} ({type(received).__name__})"
