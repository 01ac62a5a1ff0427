from tests.benchmarks.bench_bootstrap import measure


def test_quick_run_measures_both_ways_and_finds_that_they_agree():
    ours, loop, apart = measure(num_draws=50, loop_draws=2, num_rounds=1)
    assert ours.value.median > 0
    assert loop.ratio.median == loop.value.median / ours.value.median
    assert apart.ratio.is_reached
