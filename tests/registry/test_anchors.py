from datetime import UTC, datetime, timedelta

import pytest

from melanoma import tracking
from melanoma.registry import anchors, ledger, moves, versions
from melanoma.registry.anchors import Anchor
from tests.registry.shelf import NAME, WHO

TERMS = "seed 1, target positive"


@pytest.fixture
def promote(shelf):
    """Promotes a new version as the stage does; the anchor for the next one."""

    def run(*, is_better: bool = False, terms: str = TERMS, kind: str = ledger.PROMOTE) -> Anchor:
        number = shelf.register()
        before = anchors.find(NAME, moves.holder_of(NAME, versions.STAGING), terms)
        with moves.exclusive(NAME):
            moves.move_alias(
                NAME,
                versions.STAGING,
                number,
                kind=kind,
                evidence={},
                tags=before.tags(number, is_better=is_better),
                **WHO,
            )
        return anchors.find(NAME, number, terms)

    return run


def test_without_a_champion_there_is_no_anchor(shelf):
    shelf.register()
    assert anchors.find(NAME, None, TERMS) == Anchor(None, TERMS, None)


def test_the_anchor_is_the_first_version_and_moves_only_to_a_better_one(promote):
    first = promote()
    assert first.version == 1
    assert first.since is not None
    assert datetime.now(UTC) - first.since < timedelta(minutes=1)
    assert promote() == first  # version 2 is not worse
    assert promote(kind=ledger.ACCEPT) == first  # version 3 was accepted by a person
    better = promote(is_better=True)
    assert (better.version, better.since) == (4, first.since)  # attempts go on: the images are the same
    assert promote().version == 4


def test_it_starts_anew_when_the_terms_change(promote):
    first = promote()
    other = anchors.find(NAME, 1, "seed 2, target positive")
    assert other.version is None
    assert other.since == ledger.moves(NAME)[-1].at  # what was judged before that is no attempt
    second = promote(terms="seed 2, target positive")
    assert second.version == 2
    assert second.since > first.since


def test_after_a_rollback_the_anchor_is_that_of_the_version_that_is_back(promote, shelf):
    promote()
    promote()
    assert promote(is_better=True).version == 3
    shelf.move(2, kind=ledger.ROLLBACK)
    assert anchors.find(NAME, 2, TERMS).version == 1


def test_a_champion_of_an_earlier_version_of_the_code_is_the_anchor(promote, shelf):
    number = shelf.register()
    shelf.move(number)
    found = anchors.find(NAME, number, TERMS)
    assert (found.version, found.since) == (number, ledger.moves(NAME)[-1].at)
    assert promote().version == number
    by_hand = shelf.register()
    tracking.client().set_registered_model_alias(NAME, versions.STAGING, str(by_hand))
    assert anchors.find(NAME, by_hand, TERMS) == Anchor(by_hand, TERMS, None)
