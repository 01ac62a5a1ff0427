"""Sections of `params.yaml` about networks: hyperparameters, training and the hyperparameter search."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, ValidationError, model_validator

from melanoma.config.types import (
    Fraction,
    Name,
    NotNegative,
    Positive,
    Section,
    Seed,
    require_current,
)

Family = Literal["conv_blocks", "vgg16", "efficientnet_lite", "applications"]
Target = Literal["positive", "diagnosis"]
Objective = Literal["auc_roc", "average_precision", "specificity_at_95_sensitivity"]
Monitor = Literal[
    "val_loss", "val_accuracy", "val_auc_roc", "val_average_precision", "val_specificity_at_95_sensitivity"
]


class Augment(Section):
    """Random warps and optional colour changes of training images."""

    rotation_degrees: Annotated[float, Field(ge=0, le=360)]
    horizontal_shift_fraction: Fraction
    vertical_shift_fraction: Fraction
    zoom_fraction: Annotated[float, Field(ge=0, lt=1)]
    aspect_fraction: Annotated[float, Field(ge=0, lt=1)]
    flips: bool
    brightness_fraction: Annotated[float, Field(ge=0, lt=1)]
    contrast_fraction: Annotated[float, Field(ge=0, lt=1)]
    saturation_fraction: Annotated[float, Field(ge=0, lt=1)]
    hue_degrees: Annotated[float, Field(ge=0, le=180)]
    channel_fraction: Annotated[float, Field(ge=0, lt=1)]


Augmentation = Literal["paper", "strong"]


class AugmentSets(Section):
    """Sets of amounts, which `augmentation` of the hyperparameters names."""

    paper: Augment
    strong: Augment


# Hyperparameters that only some families of networks have.
BACKBONES = ("efficientnet_lite", "applications")
FAMILIES_OF_HYPERPARAMETER: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("filters", "batch_norm", "residual", "global_pooling"), ("conv_blocks",)),
    "depth": ("conv_blocks", "vgg16"),
    "network": BACKBONES,
    "drop_connect": ("efficientnet_lite",),
    **dict.fromkeys(("weights", "frozen_stages", "unfreeze_epoch", "layer_decay"), ("vgg16", *BACKBONES)),
}
MAY_BE_NULL = ("weights", "unfreeze_epoch")  # also where the family has them
NEUTRAL = {"frozen_stages": 0, "layer_decay": 1.0, "drop_connect": 0.0}  # what null means there
OFF = (None, False, 0.0, 1.0)  # values that a family without the hyperparameter accepts


class Hyperparameters(Section):
    """Everything that may differ between the networks of one study; null where the family lacks it."""

    family: Family
    network: str | None
    weights: str | None
    image_size: Annotated[int, Field(ge=32)]
    learning_rate: Annotated[float, Field(gt=0, lt=1)]
    depth: Annotated[int, Field(ge=1, le=5)] | None
    filters: Positive | None
    batch_norm: bool | None
    residual: bool | None
    global_pooling: bool | None
    dense_units: NotNegative
    dropout: Annotated[float, Field(ge=0, lt=1)]
    drop_connect: Annotated[float, Field(ge=0, lt=1)] | None
    batch_size: Positive
    num_epochs: Positive | None
    keep_epoch: Literal["best", "last"]
    optimizer: Literal["adam", "sgd"]
    weight_decay: Annotated[float, Field(ge=0, lt=1)]
    schedule: Literal["constant", "cosine"]
    warmup_epochs: NotNegative
    final_learning_rate_fraction: Fraction
    ema: Annotated[float, Field(ge=0, lt=1)]
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)]
    sampling_power: Fraction
    augmentation: Augmentation
    augment_strength: Fraction
    frozen_stages: NotNegative | None
    unfreeze_epoch: Positive | None
    layer_decay: Annotated[float, Field(gt=0, le=1)] | None

    def with_drawn(self, drawn: dict[str, Any]) -> "Hyperparameters":
        """A copy with the drawn values; null where the drawn family does not have a hyperparameter.

        Raises:
            ValidationError: A value is out of range, or the drawn family needs one that is missing.
        """
        family = drawn.get("family", self.family)
        kept = {name: value if has(family, name) else None for name, value in self}
        return Hyperparameters.model_validate(kept | drawn)

    @property
    def has_frozen_features(self) -> bool:
        """Whether all blocks keep the weights that they start from, so that features are computed once."""
        return self.family == "vgg16" and self.frozen_stages == self.depth

    @model_validator(mode="after")
    def _fits_its_family(self) -> Self:
        """Equal networks compare equal: what the family does not have is set to null."""
        for name, owners in FAMILIES_OF_HYPERPARAMETER.items():
            value = getattr(self, name)
            if not has(self.family, name):
                is_on = value is True or value not in OFF
                if is_on and name not in ("depth", "filters"):
                    raise ValueError(
                        f"{name} is an option of {' and '.join(owners)} and must be off for family "
                        f"{self.family}, got {value!r}"
                    )
                self.__dict__[name] = None  # the section is frozen
            elif value is None and name in NEUTRAL:
                self.__dict__[name] = NEUTRAL[name]
            elif value is None and name not in MAY_BE_NULL:
                raise ValueError(f"{name} is required by family {self.family}, got null")
        return self

    @model_validator(mode="after")
    def _frozen_stages_start_from_weights(self) -> Self:
        if self.frozen_stages and self.weights is None:
            raise ValueError(
                f"frozen_stages {self.frozen_stages} without weights would keep random weights; set weights "
                "or frozen_stages: 0"
            )
        if self.unfreeze_epoch and not self.frozen_stages:
            raise ValueError("unfreeze_epoch needs frozen stages; set frozen_stages or unfreeze_epoch: null")
        return self

    @model_validator(mode="after")
    def _has_a_dense_layer(self) -> Self:
        if self.dense_units == 0 and self.family not in BACKBONES:
            raise ValueError(f"dense_units must be at least 1 for family {self.family}, got 0")
        return self


def has(family: str, name: str) -> bool:
    """Whether networks of `family` have the hyperparameter `name`."""
    return family in FAMILIES_OF_HYPERPARAMETER.get(name, (family,))


class FloatRange(Section):
    """Real numbers between two bounds, inclusive."""

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
    """Whole numbers between two bounds, inclusive."""

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
    """A list of values."""

    choices: Annotated[list[bool | int | float | str], Field(min_length=1)]

    def holds(self, value: Any) -> bool:
        """Whether a trial could draw `value`."""
        return value in self.choices


def _kind(row: object) -> str:
    """Whether a row is a range or a list of choices, so that an error names that kind only."""
    has_choices = isinstance(row, Choices) or (isinstance(row, dict) and "choices" in row)
    return "choices" if has_choices else "range"


FloatRow = Annotated[
    Annotated[FloatRange, Tag("range")] | Annotated[Choices, Tag("choices")], Discriminator(_kind)
]
IntRow = Annotated[
    Annotated[IntRange, Tag("range")] | Annotated[Choices, Tag("choices")], Discriminator(_kind)
]


def in_words(hyperparameters: Mapping[str, Any]) -> str:
    """Hyperparameters in words, without those that the family does not have.

    >>> in_words({"family": "vgg16", "learning_rate": 0.000409, "filters": None, "batch_norm": True})
    'family vgg16, learning_rate 0.00041, batch_norm true'
    """
    words = {
        name: f"{value:.2g}" if isinstance(value, float) else str(value).lower()
        for name, value in hyperparameters.items()
        if value is not None
    }
    return ", ".join(f"{name} {word}" for name, word in words.items())


class Space(Section):
    """The search space; a row that is null keeps the baseline's value."""

    family: Choices | None  # first: what else is drawn depends on it
    network: Choices | None
    image_size: Choices | None  # images are packed at each of them
    learning_rate: FloatRow | None
    depth: IntRow | None
    filters: IntRow | None
    batch_norm: Choices | None
    residual: Choices | None
    global_pooling: Choices | None
    dense_units: IntRow | None
    dropout: FloatRow | None
    drop_connect: FloatRow | None
    batch_size: IntRow | None
    optimizer: Choices | None
    weight_decay: FloatRow | None
    ema: FloatRow | None
    label_smoothing: FloatRow | None
    sampling_power: FloatRow | None
    augmentation: Choices | None
    augment_strength: FloatRow | None
    frozen_stages: IntRow | None
    layer_decay: FloatRow | None

    def rows(self, family: str | None = None) -> dict[str, FloatRange | IntRange | Choices]:
        """The searched hyperparameters in a fixed order, optionally of one family only."""
        named = {name: getattr(self, name) for name in type(self).model_fields}
        return {
            name: row
            for name, row in named.items()
            if row is not None and (family is None or has(family, name))
        }

    def families(self, baseline: Hyperparameters) -> list[str]:
        """The families that a trial may draw."""
        return [baseline.family] if self.family is None else [str(name) for name in self.family.choices]

    @model_validator(mode="after")
    def _is_not_empty(self) -> Self:
        if not self.rows():
            raise ValueError(
                "tune.space is empty; give a range or choices for at least one hyperparameter, "
                "for instance learning_rate"
            )
        return self

    def require_legal(self, baseline: Hyperparameters) -> None:
        """Raise a `ValueError` unless every value is legal and the baseline lies in the space."""
        families = self.families(baseline)
        for name in self.rows():
            if not any(has(family, name) for family in families):
                raise ValueError(f"tune.space.{name} has no effect on {families[0]}; set it to null")
        for family in families:
            self._require_legal_values(family, baseline)
        for name, row in self.rows(baseline.family).items():
            value = getattr(baseline, name)
            if not row.holds(value):
                raise ValueError(
                    f"baseline.{name} is trial 0 and must be within tune.space.{name}, got {value} and "
                    f"{row.model_dump()}"
                )

    def _require_legal_values(self, family: str, baseline: Hyperparameters) -> None:
        """Check both ends, or all choices, of each row that trials of this family draw."""
        ends = {
            name: row.choices if isinstance(row, Choices) else [row.low, row.high]
            for name, row in self.rows(family).items()
        }
        firsts = {name: values[0] for name, values in ends.items()} | {"family": family}
        for name, values in ends.items():
            for value in values if name != "family" else [family]:
                _require_legal(name, firsts | {name: value}, baseline)


def _require_legal(name: str, drawn: dict[str, Any], baseline: Hyperparameters) -> None:
    try:
        baseline.with_drawn(drawn)
    except ValidationError as error:
        problem = error.errors()[0]
        if not problem["loc"]:  # the family as a whole
            raise ValueError(
                f"tune.space.family includes {drawn['family']}, but {problem['ctx']['error']}; give it a "
                "range or choices in tune.space, or use a baseline of that family"
            ) from error
        named = str(problem["loc"][0])
        raise ValueError(f"tune.space.{named}: {problem['msg']}, got {drawn.get(named, name)!r}") from error


class Model(Section):
    """Settings that all networks share."""

    target: Target
    filter_multiples: Annotated[list[Positive], Field(min_length=5, max_length=5)]
    num_views: Positive

    @model_validator(mode="before")
    @classmethod
    def _keys_are_current(cls, given: object) -> object:
        if isinstance(given, dict) and given.get("target") == "malignant":
            raise ValueError("target: malignant was renamed to positive; set model.target: positive")
        return require_current(
            given,
            {
                "weights": "weights of baseline and backbone",
                "freeze": "frozen_stages of baseline and backbone",
            },
        )


class Segment(Section):
    """Boxes around lesions, from masks and optionally from a small U-Net."""

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
    def _image_size_can_be_halved(self) -> Self:
        if self.image_size % 2**self.depth:
            raise ValueError(
                f"image_size must be a multiple of {2**self.depth} to be halved {self.depth} times, got "
                f"{self.image_size}"
            )
        return self


class Train(Section):
    """Training of the baseline, the tuned network and the trials."""

    seed: Seed
    num_seeds: Positive
    num_networks: Positive
    ensemble: Literal["seeds", "folds"]
    num_folds: Positive
    num_epochs: Positive
    monitor: Monitor
    patience: Positive
    momentum: Annotated[float, Field(ge=0, lt=1)]
    mixed_precision: bool
    deterministic: bool
    input: Literal["auto", "host", "device"]
    num_loader_threads: NotNegative
    checkpoints: Annotated[str, Field(min_length=1)]

    @model_validator(mode="before")
    @classmethod
    def _keys_are_current(cls, given: object) -> object:
        moved = ("schedule", "warmup_epochs", "final_learning_rate_fraction", "label_smoothing")
        here = {name: f"{name} of baseline and backbone" for name in moved}
        return require_current(
            given, here | {"balance_classes": "sampling_power of baseline and backbone (1 = balanced)"}
        )

    @model_validator(mode="after")
    def _an_ensemble_is_trained(self) -> Self:
        if self.num_networks > self.num_seeds:
            raise ValueError(
                f"num_networks must be at most num_seeds, the number of networks that are trained; got "
                f"{self.num_networks} and {self.num_seeds}"
            )
        return self


class Crossvalidate(Section):
    """Grouped cross-validation of the whole recipe."""

    seed: Seed
    num_folds: Annotated[int, Field(ge=2)]


class Tune(Section):
    """The hyperparameter search around the baseline."""

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
