"""Sections of `params.yaml` about networks: hyperparameters and training; the search is in `tuning`."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from melanoma.config.types import Fraction, NotNegative, Positive, Section, Seed, require_current

Family = Literal["conv_blocks", "vgg16", "efficientnet_lite", "applications"]
Target = Literal["positive", "diagnosis"]
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


LITES = ("lite0", "lite1", "lite2")  # networks of efficientnet_lite

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
        is_frozen = self.family == "vgg16" and self.frozen_stages == self.depth
        return is_frozen and self.unfreeze_epoch is None

    @model_validator(mode="after")
    def _fits_its_family(self) -> Self:
        """Equal networks compare equal: what the family does not have is set to null."""
        for name, owners in FAMILIES_OF_HYPERPARAMETER.items():
            value = getattr(self, name)
            if not has(self.family, name):
                is_on = value not in (None, False, NEUTRAL.get(name))
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
    def _network_exists(self) -> Self:
        """Only Keras itself knows the networks of `applications`; they are checked before training."""
        if self.family == "efficientnet_lite" and self.network not in LITES:
            raise ValueError(
                f"network must be one of {', '.join(LITES)} for efficientnet_lite, got {self.network}"
            )
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
    mixed_precision: bool | Literal["auto"]
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
