"""Types that several sections of `params.yaml` use."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0, le=1)]
OpenFraction = Annotated[float, Field(gt=0, lt=1)]
HueDegrees = Annotated[float, Field(ge=0, le=360)]
Positive = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9_-]+$")]  # part of paths and of registered names
Names = Annotated[list[str], Field(min_length=1)]


class Section(BaseModel):
    """A section of `params.yaml`: unknown keys and wrong types are refused, values are frozen."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


NotNegative = Annotated[int, Field(ge=0)]
Depth = Annotated[int, Field(ge=1, le=5)]
