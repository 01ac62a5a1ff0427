"""The typed parameters of `params.yaml`."""

from melanoma.config.params import Params, load, read_yaml

__all__ = ["Params", "load", "read_yaml"]
