"""The sections of `params.yaml` about the study: the paper, rebuilt beside a protocol without leakage."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from melanoma.sections import Positive, Section, Seed

Depth = Annotated[int, Field(ge=1, le=5)]


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


class Study(Section):
    """Which networks are trained under which protocols, how often and how long."""

    seed: Seed
    num_seeds: Positive
    num_epochs: Positive
    patience: Positive
    num_bootstrap_draws: Annotated[int, Field(ge=100)]
    protocols: Annotated[list[Literal["paper", "leak_free"]], Field(min_length=1)]
    networks: dict[str, Annotated[list[StudyNetwork], Field(min_length=1)]]


class Diagnosis(Section):
    """Networks that tell several classes apart beside networks that tell malignant from benign."""

    seed: Seed
    num_seeds: Positive
    num_epochs: Positive
    patience: Positive
    num_bootstrap_draws: Annotated[int, Field(ge=100)]


class Crops(Section):
    """Whether it helps to cut out the lesion: which crops are compared, by how many networks."""

    kinds: Annotated[list[Literal["none", "mask", "unet"]], Field(min_length=1)]
    seed: Seed
    num_seeds: Positive
    num_epochs: Positive
    patience: Positive
    num_bootstrap_draws: Annotated[int, Field(ge=100)]

    @model_validator(mode="after")
    def _there_is_something_to_compare_with(self) -> Self:
        if len(set(self.kinds)) < len(self.kinds) or "none" not in self.kinds:
            raise ValueError(f"kinds must hold none, each kind once, got {self.kinds}")
        return self


class Transfer(Section):
    """Which networks are tested on a source that they never saw, how often and how long they are trained."""

    seed: Seed
    num_seeds: Annotated[dict[Literal["baseline", "tuned"], Positive], Field(min_length=1)]
    num_epochs: Positive
    patience: Positive
    min_images: Positive
    min_groups: Positive
    num_bootstrap_draws: Annotated[int, Field(ge=100)]
    dots_per_inch: Annotated[int, Field(ge=30, le=300)]


class Page(Section):
    """Bounds of the page with all results."""

    max_picture_width: Annotated[int, Field(ge=200, le=4000)]
    max_megabytes: Annotated[float, Field(gt=0)]
