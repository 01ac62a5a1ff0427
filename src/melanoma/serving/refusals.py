"""The refusal of a request because of its images."""

from collections.abc import Mapping

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE


class RowsRefused(MlflowException):
    """A request that is refused because of its images: answered with status 400.

    Attributes:
        reasons: Why a row is refused, by its number; empty if the images are too large only together.
    """

    def __init__(self, message: str, reasons: Mapping[int, str]) -> None:
        """Create the refusal."""
        super().__init__(message, error_code=INVALID_PARAMETER_VALUE)
        self.reasons = reasons
