"""The sections of `params.yaml` about the study: the paper, rebuilt beside a protocol without leakage."""

from typing import Annotated, Literal

from pydantic import Field

from melanoma.sections import Positive, Section, Seed

Depth = Annotated[int, Field(ge=1, le=5)]


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
