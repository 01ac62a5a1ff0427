"""The sections of `params.yaml` about watching a served model."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from melanoma.config.types import NotNegative, Section

Chance = Annotated[float, Field(gt=0, le=1)]


class Queue(Section):
    """The label queue and its audit."""

    size: NotNegative
    audit_fraction: Chance
    audit_fraction_near: Chance
    near_factor: Chance

    @model_validator(mode="after")
    def _more_are_drawn_where_misses_lie(self) -> Self:
        if self.audit_fraction_near < self.audit_fraction:
            raise ValueError(
                f"audit_fraction_near must be at least audit_fraction, got {self.audit_fraction_near} and "
                f"{self.audit_fraction}"
            )
        return self
