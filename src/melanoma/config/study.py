"""Section `study` of `params.yaml`: the paper, rebuilt and tested."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from melanoma.config.types import Depth, NotNegative, Positive, Section, Seed

DotsPerInch = Annotated[int, Field(ge=30, le=300)]


class Paper(Section):
    """When two published figures agree."""

    tolerance: Annotated[float, Field(gt=0, lt=0.01)]


class StudyNetwork(Section):
    """One kind of network; all other hyperparameters are as in `baseline`."""

    family: Literal["conv_blocks", "vgg16"]
    depth: Depth
    weights: str | None = None
    frozen_stages: NotNegative = 0

    @property
    def drawn(self) -> dict[str, Any]:
        """The hyperparameters in which it differs from the baseline."""
        own = {"family": self.family, "depth": self.depth}
        started = {"weights": self.weights, "frozen_stages": self.frozen_stages}
        return own | (started if self.family == "vgg16" else {})

    @property
    def name(self) -> str:
        """The name in tables, for instance `conv_blocks_3`."""
        return f"{self.family}_{self.depth}"


class Experiment(Section):
    """Networks that are trained only to be compared, with intervals."""

    seed: Seed
    num_epochs: Positive
    patience: Positive
    num_bootstrap_draws: Annotated[int, Field(ge=100)]

    @property
    def recipes(self) -> tuple[str, ...]:
        """Sections with the hyperparameters of its networks; `tuned` for the best of the search."""
        return ("baseline",)


class RepeatedExperiment(Experiment):
    """An experiment that trains the same number of networks of each kind."""

    num_seeds: Positive

    @property
    def seeds(self) -> list[int]:
        """The seeds of the networks of each kind."""
        return list(range(self.seed, self.seed + self.num_seeds))


class OneRecipe(RepeatedExperiment):
    """An experiment whose networks have the hyperparameters of one section, `baseline` or `backbone`."""

    recipe: Literal["baseline", "backbone"]

    @property
    def recipes(self) -> tuple[str, ...]:
        """Its only section."""
        return (self.recipe,)


class Protocols(RepeatedExperiment):
    """Which networks are trained under which protocols."""

    compared: Annotated[list[Literal["paper", "leak_free"]], Field(min_length=1)]
    networks: dict[str, Annotated[list[StudyNetwork], Field(min_length=1)]]

    @model_validator(mode="after")
    def _each_is_named_once(self) -> Self:
        named: dict[str, list[str]] = {"compared": list(self.compared)}
        named |= {f"networks.{cohort}": [kind.name for kind in own] for cohort, own in self.networks.items()}
        for key, names in named.items():
            if len(set(names)) < len(names):
                raise ValueError(f"{key} must not repeat a name, got {names}")
        return self


class Crops(OneRecipe):
    """Which kinds of crops are compared."""

    kinds: Annotated[list[Literal["none", "mask", "unet"]], Field(min_length=1)]

    @model_validator(mode="after")
    def _whole_images_are_the_reference(self) -> Self:
        if len(set(self.kinds)) < len(self.kinds) or "none" not in self.kinds:
            raise ValueError(f"kinds must include none and not repeat a kind, got {self.kinds}")
        return self


class Transfer(Experiment):
    """Which networks are tested on a source that they were not trained on."""

    kinds: Annotated[list[Literal["dataset", "collection"]], Field(min_length=1)]
    num_seeds: Annotated[dict[Literal["baseline", "backbone", "tuned"], Positive], Field(min_length=1)]
    min_images: Positive
    min_groups: Positive
    dots_per_inch: DotsPerInch

    @property
    def recipes(self) -> tuple[str, ...]:
        """The kinds of networks."""
        return tuple(self.num_seeds)

    @model_validator(mode="after")
    def _each_kind_is_named_once(self) -> Self:
        if len(set(self.kinds)) < len(self.kinds):
            raise ValueError(f"kinds must not repeat a kind, got {self.kinds}")
        return self


class Resplit(Section):
    """How many other splits the test set is compared with, and by which methods."""

    backbone_features: bool
    seed: Seed
    num_splits: Annotated[int, Field(ge=2, le=1000)]
    dots_per_inch: DotsPerInch


class Compare(Section):
    """How the comparison with the paper is drawn."""

    dots_per_inch: DotsPerInch


class Study(Section):
    """The whole study: its cohorts, and a section for each stage."""

    cohorts: list[str]
    paper: Paper
    protocols: Protocols
    diagnosis: OneRecipe
    crops: Crops
    transfer: Transfer
    resplit: Resplit
    compare: Compare

    def networks(self) -> Iterator[tuple[str, StudyNetwork]]:
        """The networks that the stage `protocols` trains, each with its cohort."""
        for cohort in self.cohorts:
            for network in self.protocols.networks[cohort]:
                yield cohort, network

    @property
    def needs_backbone(self) -> bool:
        """Whether a stage reads images of the size of `backbone` from the packed cohort."""
        recipes = {*self.transfer.num_seeds, self.diagnosis.recipe}
        return bool(self.cohorts) and ("backbone" in recipes or self.resplit.backbone_features)

    def experiments(self) -> dict[str, Experiment]:
        """The sections of the stages that train networks, by name; none without cohorts."""
        if not self.cohorts:
            return {}
        return {name: getattr(self, name) for name in ("protocols", "diagnosis", "crops", "transfer")}
