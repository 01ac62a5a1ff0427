"""What a run says of itself on MLflow's pages: description, source, commit, user and datasets."""

import getpass
import json
import os
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from mlflow.entities import Dataset as MlflowDataset
from mlflow.entities import DatasetInput, InputTag, SourceType
from mlflow.utils.mlflow_tags import (
    MLFLOW_DATASET_CONTEXT,
    MLFLOW_GIT_COMMIT,
    MLFLOW_RUN_NOTE,
    MLFLOW_SOURCE_NAME,
    MLFLOW_SOURCE_TYPE,
    MLFLOW_USER,
)
from mlflow.utils.validation import MAX_DATASET_DIGEST_SIZE

from melanoma.lineage import COMMIT_TAG, UNKNOWN, commit_tags

NOTE_TAG = MLFLOW_RUN_NOTE  # description of a run, Markdown


def own_fields(note: str) -> dict[str, str]:
    """Tags that fill the fields of a run on MLflow's pages: description, source, commit and user.

    Args:
        note: Description of the run, Markdown.
    """
    is_of_project = "MLFLOW_RUN_ID" in os.environ  # started by `mlflow run`
    commit = commit_tags()[COMMIT_TAG]
    return {
        NOTE_TAG: note,
        MLFLOW_SOURCE_NAME: command(),
        MLFLOW_SOURCE_TYPE: SourceType.to_string(SourceType.PROJECT if is_of_project else SourceType.LOCAL),
        MLFLOW_USER: _user(),
        **({} if commit == UNKNOWN else {MLFLOW_GIT_COMMIT: commit}),
    }


def command() -> str:
    """The command of this process, for instance `python -m pipelines.train --cohort ph2`.

    Options that name a path are left out: MLflow's pages show only what follows the last slash.
    """
    words: list[str] = []
    for word in sys.argv[1:]:
        if "/" not in word:
            words.append(word)
        elif words and words[-1].startswith("-"):
            words.pop()
    module = getattr(sys.modules["__main__"], "__spec__", None)
    script = Path(sys.argv[0]).name if module is None else f"-m {module.name}"
    return " ".join(["python", script, shlex.join(words)]).strip()


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return str(os.getuid())


@dataclass(frozen=True)
class Dataset:
    """Images that a run uses; MLflow's table of runs shows them.

    Attributes:
        name: Name of the dataset.
        digest: Digest of the images; shortened to what MLflow's tables hold.
        context: What the images are used for: `training`, `holdout`, `validation` or `test`.
        num_images: Number of images.
        num_malignant: Number of positive images.
    """

    name: str
    digest: str
    context: str
    num_images: int
    num_malignant: int

    def as_input(self) -> DatasetInput:
        """The dataset as MLflow stores it; its source is the command that used it."""
        counts = {"num_rows": self.num_images, "num_malignant": self.num_malignant}
        dataset = MlflowDataset(
            name=self.name,
            digest=self.digest[:MAX_DATASET_DIGEST_SIZE],
            source_type="code",
            source=json.dumps({"tags": {MLFLOW_SOURCE_NAME: command()}}),
            profile=json.dumps(counts),
        )
        return DatasetInput(dataset, [InputTag(MLFLOW_DATASET_CONTEXT, self.context)])
