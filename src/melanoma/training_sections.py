"""The sections of `params.yaml` about networks: their hyperparameters, how they are fitted and searched."""

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, ValidationError, model_validator

from melanoma.sections import Fraction, Name, Positive, Section, Seed

NotNegative = Annotated[int, Field(ge=0)]
Objective = Literal["auc_roc", "average_precision", "specificity_at_95_sensitivity"]
Monitor = Literal[
    "val_loss", "val_accuracy", "val_auc_roc", "val_average_precision", "val_specificity_at_95_sensitivity"
]


class Augment(Section):
    """Random warps and, where wanted, other colours of training images."""

    rotation_degrees: Annotated[float, Field(ge=0, le=360)]
    horizontal_shift_fraction: Fraction
    vertical_shift_fraction: Fraction
    zoom_fraction: Annotated[float, Field(ge=0, lt=1)]
    flips: bool
    brightness_fraction: Annotated[float, Field(ge=0, lt=1)]
    contrast_fraction: Annotated[float, Field(ge=0, lt=1)]
    saturation_fraction: Annotated[float, Field(ge=0, lt=1)]
    hue_degrees: Annotated[float, Field(ge=0, le=180)]


class Hyperparameters(Section):
    """All that may differ from trial to trial."""

    learning_rate: Annotated[float, Field(gt=0, lt=1)]
    depth: Annotated[int, Field(ge=1, le=5)]
    filters: Positive
    dense_units: Positive
    dropout: Annotated[float, Field(ge=0, lt=1)]
    batch_size: Positive
    optimizer: Literal["adam", "sgd"]
    weight_decay: Annotated[float, Field(ge=0, lt=1)]
    augment_strength: Fraction


class FloatRange(Section):
    """Real numbers between two bounds, both among them."""

    low: float
    high: float
    log: bool

    def holds(self, value: Any) -> bool:
        """Whether a trial could draw `value`."""
        return self.low <= value <= self.high

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low must not exceed high, got {self.low:g} and {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"low must be above 0 on a log scale, got {self.low:g}")
        return self


class IntRange(Section):
    """Whole numbers between two bounds, both among them."""

    low: int
    high: int

    def holds(self, value: Any) -> bool:
        """Whether a trial could draw `value`."""
        return self.low <= value <= self.high

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low must not exceed high, got {self.low} and {self.high}")
        return self


class Choices(Section):
    """A few values."""

    choices: Annotated[list[int | float | str], Field(min_length=1)]

    def holds(self, value: Any) -> bool:
        """Whether a trial could draw `value`."""
        return value in self.choices


def _kind(row: object) -> str:
    """Which of the two a row is meant to be, so that an error speaks of that one only."""
    has_choices = isinstance(row, Choices) or (isinstance(row, dict) and "choices" in row)
    return "choices" if has_choices else "range"


FloatRow = Annotated[
    Annotated[FloatRange, Tag("range")] | Annotated[Choices, Tag("choices")], Discriminator(_kind)
]
IntRow = Annotated[
    Annotated[IntRange, Tag("range")] | Annotated[Choices, Tag("choices")], Discriminator(_kind)
]


class Space(Section):
    """What a study searches; a row that is null keeps the baseline's value."""

    learning_rate: FloatRow | None
    depth: IntRow | None
    filters: IntRow | None
    dense_units: IntRow | None
    dropout: FloatRow | None
    batch_size: IntRow | None
    optimizer: Choices | None
    weight_decay: FloatRow | None
    augment_strength: FloatRow | None

    def rows(self) -> dict[str, FloatRange | IntRange | Choices]:
        """The hyperparameters that are searched, in a fixed order."""
        named = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: row for name, row in named.items() if row is not None}

    @model_validator(mode="after")
    def _is_not_empty(self) -> Self:
        if not self.rows():
            raise ValueError("tune.space is empty: give at least one row, for instance learning_rate")
        return self

    def require_legal(self, baseline: Hyperparameters) -> None:
        """Raise a `ValueError` unless every value is legal and the baseline lies in the space."""
        for name, row in self.rows().items():
            for value in row.choices if isinstance(row, Choices) else (row.low, row.high):
                _require_legal(name, value, baseline)
            value = getattr(baseline, name)
            if not row.holds(value):
                raise ValueError(
                    f"baseline.{name} is trial 0 and must lie in tune.space.{name}, got {value} and "
                    f"{row.model_dump()}"
                )


def _require_legal(name: str, value: object, baseline: Hyperparameters) -> None:
    try:
        Hyperparameters.model_validate(baseline.model_dump() | {name: value})
    except ValidationError as error:
        raise ValueError(f"tune.space.{name}: {error.errors()[0]['msg']}, got {value!r}") from error


class Model(Section):
    """What all networks of a study share."""

    family: Literal["conv_blocks", "vgg16"]
    filter_multiples: Annotated[list[Positive], Field(min_length=5, max_length=5)]
    batch_norm: bool
    global_pooling: bool
    residual: bool
    weights: str | None
    freeze: bool


class Segment(Section):
    """Where the lesion is: boxes from masks and, where it is trained, from a small U-Net."""

    train: bool
    seed: Seed
    image_size: Annotated[int, Field(ge=32)]
    depth: Annotated[int, Field(ge=1, le=6)]
    filters: Positive
    learning_rate: Annotated[float, Field(gt=0, lt=1)]
    batch_size: Positive
    num_epochs: Positive
    patience: Positive
    min_lesion_fraction: Annotated[float, Field(ge=0, lt=1)]
    num_bootstrap_draws: Annotated[int, Field(ge=100)]

    @model_validator(mode="after")
    def _the_picture_can_be_halved(self) -> Self:
        if self.image_size % 2**self.depth:
            raise ValueError(
                f"image_size must be a multiple of {2**self.depth} to be halved {self.depth} times, got "
                f"{self.image_size}"
            )
        return self


class Train(Section):
    """Fitting of the baseline and of the tuned network; trials are fitted alike."""

    seed: Seed
    num_seeds: Positive
    num_epochs: Positive
    balance_classes: bool
    monitor: Monitor
    patience: Positive
    schedule: Literal["constant", "cosine"]
    warmup_epochs: NotNegative
    final_learning_rate_fraction: Fraction
    momentum: Annotated[float, Field(ge=0, lt=1)]
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)]
    mixed_precision: bool
    xla: bool
    deterministic: bool
    input: Literal["auto", "host", "device"]
    num_loader_threads: NotNegative
    checkpoints: Annotated[str, Field(min_length=1)]


class Tune(Section):
    """The study around the baseline."""

    seed: Seed
    num_trials: Positive
    num_epochs: Positive
    objective: Objective
    pruner: Literal["median", "hyperband", "none"]
    num_startup_trials: NotNegative
    num_warmup_epochs: NotNegative
    study: Name | None
    storage: Annotated[str, Field(min_length=1)]
    num_workers: NotNegative
    workers_per_device: Positive
    trials_per_process: Positive
    cpus_per_trial: Positive
    space: Space
