import pytest

from tests.simulations import ensembles


def number(text: str) -> float:
    return float(text.split(maxsplit=1)[0])


@pytest.fixture(scope="module")
def rows():
    """Rows by rule, from data sets of 400 groups; networks scored alone are the rule before."""
    return {row.rule: row for row in ensembles.rows_of(60, 3, num_groups=400)}


@pytest.mark.parametrize("name", ["calibration intercept", "calibration slope", "observed expected"])
def test_an_ensemble_calibrated_on_validation_is_calibrated_and_its_intervals_say_so(rows, name):
    average, coverage = (rows[f"{name} of an ensemble: {what}"] for what in ("average", "coverage"))
    assert number(average.after) == pytest.approx(number(average.nominal), abs=0.05)
    assert number(coverage.after) >= 0.9
    assert number(coverage.before) < number(coverage.after)


def test_calibrated_on_single_networks_it_is_too_cautious(rows):
    assert number(rows["calibration slope of an ensemble: average"].before) > 1.4
    specificity = rows["specificity of an ensemble at its threshold"]
    assert number(specificity.before) < number(specificity.after) - 0.08


def test_the_guaranteed_sensitivity_of_an_ensemble_holds(rows):
    assert number(rows["guaranteed sensitivity of an ensemble: sets where it holds"].after) >= 0.9
