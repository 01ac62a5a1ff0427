"""Fixtures that the tests of stages share with those of the scripts."""

from tests.pipelines.conftest import broken

__all__ = ["broken"]
