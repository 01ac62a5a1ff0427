import time

import pytest

from melanoma.serving.admission import Budget, Work, WorkEnded


def test_shares_take_from_one_budget_and_give_it_back():
    budget = Budget(100, small=10)
    with budget.share() as first, budget.share() as second:
        assert first.take(50)
        assert second.take(25)
        assert not first.take(1)  # the last quarter is for small shares
        assert (first.held, second.held, budget.taken) == (50, 25, 75)
        with budget.share() as small:
            assert small.take(10)
            assert not small.take(1)  # not small any more
        assert budget.taken == 75
    assert budget.taken == 0


def test_small_shares_fill_the_budget_to_its_end():
    budget = Budget(100, small=10)
    shares = [budget.share() for _ in range(11)]
    assert [share.take(10) for share in shares] == [True] * 10 + [False]


def test_a_share_may_shrink_when_the_budget_is_full():
    budget = Budget(100, small=10)
    with budget.share() as share:
        assert share.take(75)
        assert share.take(-40)
        assert budget.taken == 35
    assert budget.taken == 0


def test_work_is_wanted_until_its_deadline_or_its_end():
    work, short = Work(60), Work(0.05)
    work.require_wanted()
    short.require_wanted()
    time.sleep(0.1)
    with pytest.raises(WorkEnded):
        short.require_wanted()
    work.require_wanted()
    work.end()
    with pytest.raises(WorkEnded):
        work.require_wanted()
