"""Sections of `params.yaml` about the study: the paper, rebuilt and tested."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from melanoma.config.types import Depth, Positive, Section, Seed


class Paper(Section):
    """When two published figures agree."""

    tolerance: Annotated[float, Field(gt=0, lt=0.01)]


class Compare(Section):
    """How the study is shown."""

    dots_per_inch: Annotated[int, Field(ge=30, le=300)]


class StudyNetwork(Section):
    """A kind of network of the study; the rest is as in `baseline` and `model`."""

    family: Literal["conv_blocks", "vgg16"]
    depth: Depth

    @property
    def name(self) -> str:
        """By which tables call it."""
        return f"{self.family}_{self.depth}"


class _Compared(Section):
    """Networks that are trained to be compared, with intervals."""

    seed: Seed
    num_epochs: Positive
    patience: Positive
    num_bootstrap_draws: Annotated[int, Field(ge=100)]


class _Repeated(_Compared):
    """As many networks of each kind."""

    num_seeds: Positive

    @property
    def seeds(self) -> list[int]:
        """Of the networks of each kind."""
        return list(range(self.seed, self.seed + self.num_seeds))


class Study(_Repeated):
    """Which networks are trained under which protocols, how often and how long."""

    protocols: Annotated[list[Literal["paper", "leak_free"]], Field(min_length=1)]
    networks: dict[str, Annotated[list[StudyNetwork], Field(min_length=1)]]

    @model_validator(mode="after")
    def _each_is_named_once(self) -> Self:
        named: dict[str, list[str]] = {"protocols": list(self.protocols)}
        named |= {f"networks.{cohort}": [kind.name for kind in own] for cohort, own in self.networks.items()}
        for key, names in named.items():
            if len(set(names)) < len(names):
                raise ValueError(f"{key} must name each once, got {names}")
        return self


class Diagnosis(_Repeated):
    """Networks that tell several classes apart beside networks that tell malignant from benign."""


class Crops(_Repeated):
    """Whether it helps to cut out the lesion: which crops are compared, by how many networks."""

    kinds: Annotated[list[Literal["none", "mask", "unet"]], Field(min_length=1)]

    @model_validator(mode="after")
    def _there_is_something_to_compare_with(self) -> Self:
        if len(set(self.kinds)) < len(self.kinds) or "none" not in self.kinds:
            raise ValueError(f"kinds must hold none, each kind once, got {self.kinds}")
        return self


class Transfer(_Compared):
    """Which networks are tested on a source that they never saw, how often and how long they are trained."""

    num_seeds: Annotated[dict[Literal["baseline", "tuned"], Positive], Field(min_length=1)]
    min_images: Positive
    min_groups: Positive
    dots_per_inch: Annotated[int, Field(ge=30, le=300)]


class Resplit(Section):
    """How many other splits the test side is held against."""

    seed: Seed
    num_splits: Annotated[int, Field(ge=2, le=1000)]
    dots_per_inch: Annotated[int, Field(ge=30, le=300)]
