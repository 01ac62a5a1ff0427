"""The sections of `params.yaml` about what happens after a model is served."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from melanoma.config.types import NotNegative, Positive, Section, Seed

Probability = Annotated[float, Field(gt=0, lt=1)]
Share = Annotated[float, Field(gt=0, le=1)]


class Monitor(Section):
    """A window of records against the reference of a version."""

    seed: Annotated[int, Field(ge=0)]
    num_windows: Positive
    alpha_shift: Probability
    min_effect: Annotated[float, Field(ge=0, le=0.5)]
    num_axes: Annotated[int, Field(ge=0)]
    min_sensitivity: Probability
    alpha_sensitivity: Probability


class Propose(Section):
    """When labels justify a new training."""

    min_new_labels: Positive
    min_new_positive: NotNegative


class Recalibrate(Section):
    """Recalibration of a version for a clinic."""

    seed: Seed
    min_labels: Positive
    min_of_each_class: Positive
    num_folds: Annotated[int, Field(ge=2)]
    num_bootstrap_draws: Annotated[int, Field(ge=100)]

    @model_validator(mode="after")
    def _each_fold_has_both_classes(self) -> Self:
        if self.min_of_each_class < self.num_folds:
            raise ValueError(
                f"min_of_each_class must be at least num_folds, got {self.min_of_each_class} and "
                f"{self.num_folds}"
            )
        return self


class Queue(Section):
    """The label queue and its audit."""

    size: NotNegative
    audit_fraction: Share
    audit_fraction_near: Share
    near_factor: Share

    @model_validator(mode="after")
    def _more_are_drawn_where_misses_lie(self) -> Self:
        if self.audit_fraction_near < self.audit_fraction:
            raise ValueError(
                f"audit_fraction_near must be at least audit_fraction, got {self.audit_fraction_near} and "
                f"{self.audit_fraction}"
            )
        return self


class Replay(Section):
    """A dataset that is posted as a stream."""

    seed: Annotated[int, Field(ge=0)]
    verified: dict[Literal["negative", "refer", "positive"], Annotated[float, Field(ge=0, le=1)]]

    @model_validator(mode="after")
    def _every_decision_is_named(self) -> Self:
        missing = {"negative", "refer", "positive"} - set(self.verified)
        if missing:
            raise ValueError(f"verified must name every decision, lacks {sorted(missing)}")
        return self
