import pytest

from melanoma import lineage, tracking
from melanoma.errors import TrackingError
from melanoma.registry import origin, versions
from tests.registry.shelf import NAME

IMAGES = (
    "image_id,split,group_id,target,dataset,licence,attribution,sha256\n"
    "007,train,g1,1,ph2,CC-BY,Clinic,aa\n"
    "008,test,g2,0,ph2,,,bb\n"
)


@pytest.fixture
def version(shelf):
    """Holds `staging`; the run behind it has all that the stage evaluate lays there."""
    version = versions.get_version(NAME, shelf.register())
    versions.set_alias(NAME, versions.STAGING, version.version)
    store, run_id = tracking.client(), version.tags["run_id"]
    store.log_text(run_id, IMAGES, f"data/{origin.IMAGES}")
    store.log_text(run_id, "python==3.11.9\nnumpy==2.0\n", origin.ENVIRONMENT)
    store.log_param(run_id, "depth", 3)
    store.set_tag(run_id, f"{lineage.DATA_TAG}data/raw/ph2", "abc.dir")
    store.set_tag(run_id, "dvc.data/splits/ph2.csv", "def")  # as runs of earlier versions have it
    return version


@pytest.mark.parametrize("uri", [f"models:/{NAME}@staging", f"models:/{NAME}/1"])
def test_a_version_is_found_by_its_alias_and_by_its_number(version, uri):
    assert origin.find(uri).version == version.version


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "models:/",
        NAME,
        f"{NAME}@staging",
        f"{NAME}/1",
        f"models:/{NAME}",
        f"models:/{NAME}/",
        f"models:/{NAME}/-1",
        f"models:/{NAME}/latest",
        f"models:/{NAME}/²",
        "models://1",
        "runs:/0123/model",
    ],
)
def test_what_is_no_address_of_a_version_is_refused(version, uri):
    with pytest.raises(TrackingError, match="Expected models:/<name>@<alias> or models:/<name>/<number>"):
        origin.find(uri)


def test_an_alias_that_nobody_holds_and_a_number_that_is_not_there_are_refused(version):
    with pytest.raises(TrackingError, match=f"No version of {NAME} has the alias production"):
        origin.find(f"models:/{NAME}@production")
    with pytest.raises(TrackingError, match=r"has no version 2; it has \[1\]"):
        origin.find(f"models:/{NAME}/2")


def test_the_run_tells_images_parameters_data_and_environment(version, tmp_path):
    found = origin.trace(version, tmp_path / "there")
    assert found.images["image_id"].tolist() == ["007", "008"]
    assert found.images["licence"].isna().tolist() == [False, True]
    assert found.params == {"depth": "3"}
    assert found.data_hashes == {"data/raw/ph2": "abc.dir", "data/splits/ph2.csv": "def"}
    assert found.environment == ["python==3.11.9", "numpy==2.0"]
    assert found.best_trial is None


def test_the_best_trial_is_that_of_the_study_that_the_run_names(version, tmp_path):
    store = tracking.client()
    study = store.create_run(tracking.experiment_id(store, "studies"), tags={"best.trial": "7"})
    store.set_tag(version.tags["run_id"], "tuning_run_id", study.info.run_id)
    assert origin.trace(version, tmp_path / "there").best_trial == "7"


def test_a_version_without_its_run_is_refused(shelf, tmp_path):
    unnamed, unknown = shelf.register(run_id=None), shelf.register(run_id="0" * 32)
    with pytest.raises(TrackingError, match=f"version {unnamed} has no tag run_id"):
        origin.trace(versions.get_version(NAME, unnamed), tmp_path / "there")
    with pytest.raises(TrackingError, match=f"Run {'0' * 32} is not in the tracking store"):
        origin.trace(versions.get_version(NAME, unknown), tmp_path / "there")


def test_a_run_without_its_images_is_refused(shelf, tmp_path):
    version = versions.get_version(NAME, shelf.register())
    with pytest.raises(TrackingError, match=r"data/images\.csv cannot be read from its artifact store"):
        origin.trace(version, tmp_path / "there")
