"""Script that MLflow runs to create the served model: a model from code, not a pickled object."""

from mlflow.models import set_model

from melanoma.serving.scorer import MelanomaScorer

set_model(MelanomaScorer())
