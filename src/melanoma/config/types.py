"""Types that several sections of `params.yaml` use."""

from collections.abc import Mapping
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


def require_current(given: object, replaced: Mapping[str, str]) -> object:
    """`given`, the content of a section, if it has no key of an earlier version.

    Args:
        given: Content of a section, not checked yet.
        replaced: What took the place of each key of earlier versions.

    Raises:
        ValueError: A key was replaced.
    """
    for old, new in replaced.items():
        if isinstance(given, dict) and old in given:
            raise ValueError(f"{old} was replaced by {new}; see the committed params.yaml")
    return given
