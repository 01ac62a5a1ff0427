"""Sections of `params.yaml` about the hyperparameter search."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, ValidationError, model_validator

from melanoma.config.training import Hyperparameters, has
from melanoma.config.types import Name, NotNegative, Positive, Section, Seed

Objective = Literal["auc_roc", "average_precision", "specificity_at_95_sensitivity"]
Pruner = Literal["median", "hyperband", "successive_halving", "none"]


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


@dataclass(frozen=True)
class Starts:
    """Hyperparameters that trials start from: what a trial does not draw is as there.

    Attributes:
        baseline: Trial 0; trials of its family start from it.
        backbone: Trial 1 of the wide search, where trials of all other families start; None to start all
            trials from the baseline.
    """

    baseline: Hyperparameters
    backbone: Hyperparameters | None = None

    def of(self, family: str) -> Hyperparameters:
        """Where trials of `family` start."""
        if self.backbone is None or family == self.baseline.family:
            return self.baseline
        return self.backbone

    def complete(self, drawn: dict[str, Any]) -> Hyperparameters:
        """All hyperparameters of the trial that drew these."""
        return self.of(drawn.get("family", self.baseline.family)).with_drawn(drawn)

    def first_trials(self) -> dict[str, Hyperparameters]:
        """The first trials of a study, by section of `params.yaml`."""
        found = {"baseline": self.baseline}
        return found if self.backbone is None else found | {"backbone": self.backbone}


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

    def families(self, starts: Starts) -> list[str]:
        """The families that a trial may draw."""
        choices = [starts.baseline.family] if self.family is None else self.family.choices
        return [str(name) for name in choices]

    @model_validator(mode="after")
    def _is_not_empty(self) -> Self:
        if not self.rows():
            raise ValueError(
                "the search space is empty; give a range or choices for at least one hyperparameter, "
                "for instance learning_rate"
            )
        return self

    def require_legal(self, starts: Starts, *, section: str) -> None:
        """Raise a `ValueError` unless every value is legal and the first trials lie in the space.

        Args:
            starts: Hyperparameters that trials start from.
            section: Name of the space in errors: `tune.space`.
        """
        families = self.families(starts)
        for name in self.rows():
            if not any(has(family, name) for family in families):
                raise ValueError(f"{section}.{name} has no effect on {families[0]}; set it to null")
        for family in families:
            self._require_legal_values(family, starts.of(family), section)
        for number, (key, first) in enumerate(starts.first_trials().items()):
            for name, row in self.rows(first.family).items():
                value = getattr(first, name)
                if not row.holds(value):
                    raise ValueError(
                        f"{key}.{name} is trial {number} and must be within {section}.{name}, got {value} "
                        f"and {row.model_dump()}"
                    )

    def _require_legal_values(self, family: str, start: Hyperparameters, section: str) -> None:
        """Check both ends, or all choices, of each row that trials of this family draw."""
        ends = {
            name: row.choices if isinstance(row, Choices) else [row.low, row.high]
            for name, row in self.rows(family).items()
        }
        firsts = {name: values[0] for name, values in ends.items()} | {"family": family}
        for name, values in ends.items():
            for value in values if name != "family" else [family]:
                _require_legal(name, firsts | {name: value}, start, section)


def _require_legal(name: str, drawn: dict[str, Any], start: Hyperparameters, section: str) -> None:
    try:
        start.with_drawn(drawn)
    except ValidationError as error:
        problem = error.errors()[0]
        if not problem["loc"]:  # the family as a whole
            raise ValueError(
                f"{section}.family includes {drawn['family']}, but {problem['ctx']['error']}; give it a "
                f"range or choices in {section}, or use a baseline of that family"
            ) from error
        named = str(problem["loc"][0])
        raise ValueError(f"{section}.{named}: {problem['msg']}, got {drawn.get(named, name)!r}") from error


class Search(Section):
    """What the wide search has in place of the same keys of `tune`."""

    num_trials: Positive
    max_minutes: Positive | None
    num_epochs: Positive
    pruner: Pruner
    num_startup_trials: NotNegative
    num_warmup_epochs: NotNegative
    space: Space


class Tune(Section):
    """The hyperparameter search: around the baseline or, where it is wide, also around the backbone."""

    wide: bool
    seed: Seed
    num_trials: Positive
    max_minutes: Positive | None
    num_epochs: Positive
    objective: Objective
    pruner: Pruner
    num_startup_trials: NotNegative
    num_warmup_epochs: NotNegative
    study: Name | None
    storage: Annotated[str, Field(min_length=1)]
    num_workers: NotNegative
    workers_per_device: Positive
    trials_per_process: Positive
    cpus_per_trial: Positive
    space: Space

    def widened(self, search: Search) -> "Tune":
        """The settings of a search: these, with those of `search` in their place where it is wide."""
        changed = {name: getattr(search, name) for name in type(search).model_fields}
        return self.model_copy(update=changed) if self.wide else self
