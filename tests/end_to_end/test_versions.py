"""Two versions of a dataset on a real S3 store, and the way back to the older one in a fresh clone."""

import json
from typing import Any

import pytest

from tests.end_to_end.clone import free_port, run
from tests.pipelines.workspace import change_params

pytestmark = pytest.mark.slow
MORE_IMAGES: dict[str, dict[str, Any]] = {
    "sample": {"num_lesions": 72, "malignant_fraction": 0.4},
    "train": {"num_epochs": 1},
    "tune": {"num_trials": 1, "num_epochs": 1},
}
WITNESSES = (
    "data/splits/sample.csv",
    "data/groups/assigned.csv",
    "reports/sample/metrics.json",
    "models/sample/baseline/model.onnx",
)


def contents(folder):
    """The bytes of files that differ between the versions; metrics come with Git, the others with DVC."""
    return {name: (folder / name).read_bytes() for name in WITNESSES}


def is_up_to_date(folder):
    """Whether `dvc repro evaluate` would run nothing but `code`, which always runs."""
    status = run(folder, "dvc", "status", "--json", "--with-deps", "evaluate@sample")
    return json.loads(status) == {"code": ["always changed"]}


def make_version(folder, tag):
    run(folder, "dvc", "repro", "evaluate")  # what follows takes its time and tells versions apart no better
    run(folder, "git", "add", "-A")
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
    run(folder, "git", *identity, "commit", "-q", "-m", tag)
    run(folder, "git", "tag", tag)
    assert "are complete in s3://" in run(folder, "python", "-m", "pipelines.storage", "push")
    return contents(folder)


def point_to(folder, bucket):
    run(folder, "dvc", "remote", "modify", "--local", "storage", "url", f"s3://{bucket}/dvc")


@pytest.fixture
def two_versions(demo_copy, new_bucket, s3):
    """A repository with the tags v1 and v2, both pushed, and what they hold."""
    origin = demo_copy
    point_to(origin, new_bucket)
    v1 = make_version(origin, "v1")
    change_params(origin / "params.yaml", **MORE_IMAGES)
    return origin, v1, make_version(origin, "v2")


def test_an_older_version_comes_back_with_its_split_its_metrics_and_its_model(
    two_versions, tmp_path, new_bucket, monkeypatch
):
    origin, v1, v2 = two_versions
    assert all(v1[name] != v2[name] for name in WITNESSES)
    fresh = tmp_path / "fresh"
    run(origin, "git", "clone", "-q", str(origin), str(fresh))
    point_to(fresh, new_bucket)
    for tag, expected in (("v1", v1), ("v2", v2)):
        run(fresh, "git", "checkout", "-q", tag)
        assert "objects, " in run(fresh, "python", "-m", "pipelines.storage", "pull")
        assert contents(fresh) == expected
        assert is_up_to_date(fresh)

    # What was pulled once comes back without the store.
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{free_port()}")
    run(fresh, "git", "checkout", "-q", "v1")
    run(fresh, "dvc", "checkout", "dvc.yaml")
    assert contents(fresh) == v1
    assert is_up_to_date(fresh)
