"""A registry with three versions of a model that passed the gates; their files are a few bytes."""

import shutil
from pathlib import Path

from melanoma import files, tracking
from melanoma.registry import versions

NAME = "melanoma-ph2"


def fill(folder: Path) -> None:
    """Register the versions in the configured store, with files below `folder`."""
    store = tracking.client()
    store.create_registered_model(NAME)
    for number in (1, 2, 3):
        artifacts = folder / f"model{number}" / "artifacts"
        artifacts.mkdir(parents=True)
        (artifacts / "model.onnx").write_bytes(bytes([number]))
        (artifacts / "settings.json").write_text("{}")
        tags = {tag: files.sha256_of_file(artifacts / name) for tag, name in versions.FILE_OF_DIGEST.items()}
        store.create_model_version(
            NAME, str(artifacts.parent), tags={"gate": "passed", "run_id": "r", **tags}
        )


def refuse(number: int) -> None:
    """Let a version be one that the gates refused."""
    store = tracking.client()
    store.set_model_version_tag(NAME, str(number), "gate", "refused")
    store.set_model_version_tag(NAME, str(number), "gate_reasons", "worse than colour")


def tamper(number: int) -> None:
    """Change the network of a version in the artifact store."""
    source = Path(tracking.client().get_model_version(NAME, str(number)).source)
    (source / "artifacts" / "model.onnx").write_bytes(b"another")


def lose(number: int) -> None:
    """Remove a version's files from the artifact store."""
    shutil.rmtree(tracking.client().get_model_version(NAME, str(number)).source)
