import pytest

from melanoma import tracking
from melanoma.errors import TrackingError
from melanoma.registry import origin

NAME = "melanoma-ph2"


def make_run(**tags):
    with tracking.open_run(experiment="e", name="n", tags=tags, params={"depth": 3}) as run:
        return run


def version_of(store, run):
    store.set_model_version_tag(NAME, "2", "run_id", run.run_id)
    return origin.find(f"models:/{NAME}/2")


def lay(run):
    run.log_text("image_id,split\n007,test\n", "data/images.csv")
    run.log_text("python==3.11\nnumpy==2.4.6\n", "environment.txt")


def test_a_version_is_found_by_number_and_by_alias(store):
    store.set_registered_model_alias(NAME, "staging", "3")
    assert int(origin.find(f"models:/{NAME}/2").version) == 2
    assert int(origin.find(f"models:/{NAME}@staging").version) == 3


@pytest.mark.parametrize(
    "uri", [NAME, f"models:/{NAME}", f"models:/{NAME}/two", f"{NAME}@staging", "models:/"]
)
def test_what_is_no_address_is_refused_with_an_example(store, uri):
    with pytest.raises(TrackingError, match="is no address of a version"):
        origin.find(uri)


def test_an_alias_that_nobody_holds_is_refused(store):
    with pytest.raises(TrackingError, match="No version of melanoma-ph2 holds the alias staging"):
        origin.find(f"models:/{NAME}@staging")


def test_images_data_hashes_parameters_trial_and_environment_come_from_the_runs(store, tmp_path):
    study = make_run(**{"best.trial": "7"})
    run = make_run(**{"dvc.data/raw/ph2": "abc.dir", "cohort": "ph2", "tuning_run_id": study.run_id})
    lay(run)
    found = origin.trace(version_of(store, run), tmp_path / "there")
    assert found.images["image_id"].tolist() == ["007"]  # ids stay words
    assert found.data_hashes == {"data/raw/ph2": "abc.dir"}
    assert found.params == {"depth": "3"}
    assert found.best_trial == "7"
    assert found.environment == ["python==3.11", "numpy==2.4.6"]


def test_a_version_made_before_its_images_were_kept_is_told_kindly(store, tmp_path):
    version = version_of(store, make_run(cohort="ph2"))
    with pytest.raises(TrackingError, match=r"its run holds no data/images.csv.*run `dvc repro`"):
        origin.trace(version, tmp_path / "there")


def test_a_version_without_a_run_is_refused(store, tmp_path):
    with pytest.raises(TrackingError, match="has no tag run_id"):
        origin.trace(origin.find(f"models:/{NAME}/1"), tmp_path)
