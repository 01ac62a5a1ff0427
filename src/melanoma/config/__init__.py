"""Typed parameters: `params.yaml`, read and checked as a whole."""

from melanoma.config.params import Params, load, read_yaml

__all__ = ["Params", "load", "read_yaml"]
