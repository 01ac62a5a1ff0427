import pytest

from melanoma.errors import TrackingError
from melanoma.registry import versions

NAME = "melanoma-ph2"


def test_an_unknown_number_is_refused_with_those_there_are(store):
    assert versions.get_version(NAME, 2).version in {2, "2"}
    with pytest.raises(TrackingError, match=r"has no version 4; it has \[1, 2, 3\]"):
        versions.get_version(NAME, 4)


def test_a_version_without_digests_is_not_taken_for_untouched(store, tmp_path):
    with pytest.raises(TrackingError, match="has no digests of its files"):
        versions.require_untouched(versions.get_version(NAME, 1), tmp_path / "there")


def test_an_alias_is_found_by_name_and_one_that_nobody_holds_is_not(store):
    versions.set_alias(NAME, versions.PRODUCTION, "2")
    assert int(versions.find_version(NAME, versions.PRODUCTION).version) == 2
    assert versions.find_version(NAME, versions.STAGING) is None
    assert versions.find_version("melanoma-none", versions.STAGING) is None
