"""The sections of `params.yaml` about what happens after a model is served."""

from typing import Annotated

from pydantic import Field

from melanoma.config.types import Positive, Section

Probability = Annotated[float, Field(gt=0, lt=1)]


class Monitor(Section):
    """A window of records against the reference of a version."""

    seed: Annotated[int, Field(ge=0)]
    num_windows: Positive
    alpha_shift: Probability
    min_effect: Annotated[float, Field(ge=0, le=0.5)]
    num_axes: Annotated[int, Field(ge=0)]
    min_sensitivity: Probability
    alpha_sensitivity: Probability
