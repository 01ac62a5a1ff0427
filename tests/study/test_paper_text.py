import pytest

from melanoma.study import paper_figures
from melanoma.study.paper_text import contradictions, format_figures

FIGURES = paper_figures.load()
NOWHERE = {"accuracy": 0.5, "sensitivity": 0.99, "specificity": 0.99, "ppv": 0.01}
EXCHANGED = "columns for sensitivity and precision are therefore probably exchanged"


def text(**table_2: dict) -> str:
    """The section, with other rows in Table II."""
    changed = FIGURES | {"table_2": FIGURES["table_2"] | table_2}
    return contradictions({"published": changed} | paper_figures.check(changed, tolerance=1e-4))


def figures_of(*counts: int) -> dict:
    found = paper_figures.metrics_of(dict(zip(paper_figures.COUNTS, counts, strict=True)))
    return {name: found[name] for name in paper_figures.SHOWN}


def paragraph(section: str, cohort: str) -> str:
    [found] = [part for part in section.split("\n\n") if part.startswith(f"**{cohort}**")]
    return found


def test_checks_that_fail_are_counted_apart_by_what_is_assumed():
    section = text()
    assert "22 of 36 checks fail: a printed figure does not follow" in section
    assert "6 fail without any assumption of ours:" in section
    assert "8 more fail under the assumption that Table II (training, by its title)" in section
    assert "7 more fail under the assumption that Table I was measured on the same images" in section
    assert "1 more fails under the assumption that no augmented image was tested" in section
    assert section.count("\n* ") == 22


def test_what_is_not_assumed_comes_first():
    section = text()
    assert (
        section.index("285 against 283")
        < section.index("under the assumption")
        < section.index("20 against 8")
    )


def test_a_single_failing_check_fails_and_none_has_no_list():
    checked = {"published": FIGURES} | paper_figures.check(FIGURES, tolerance=1e-4)
    first, *others = checked["checks"]
    others = [entry | {"agrees": True} for entry in others]
    section = contradictions(checked | {"checks": [first, *others]})
    assert "1 of 36 checks fails" in section
    assert "1 fails without any assumption of ours:" in section
    section = contradictions(checked | {"checks": others})
    assert "0 fail without any assumption of ours." in section
    assert "\n* " not in section


@pytest.mark.parametrize(
    ("says", "follows", "shown"),
    [
        (0.9735, 0.973978, ("0.9735", "0.9740")),
        (0.970011, 0.95, ("0.9700", "0.9500")),
        (0.97, 0.970011, ("0.97000", "0.97001")),
        (20, 8.0, ("20", "8")),
        ("training", "validation", ("training", "validation")),
    ],
)
def test_figures_that_differ_have_digits_enough_to_see_it(says, follows, shown):
    assert format_figures({"says": says, "follows": follows, "agrees": False}) == shown


def test_figures_that_agree_have_four_decimals():
    assert format_figures({"says": 0.97, "follows": 0.970011, "agrees": True}) == ("0.9700", "0.9700")


def test_the_matrix_that_fits_with_columns_exchanged_is_told_and_whether_it_is_the_printed_one():
    of_isic, of_ph2, of_joint = (paragraph(text(), cohort) for cohort in ("isic", "ph2", "joint"))
    assert "as printed, no confusion matrix gives more than 1 of the 4 figures;" in of_isic
    assert (
        "exactly one confusion matrix gives 4 of the 4 figures (true positives 258, false negatives 7"
        in of_isic
    )
    assert "it is not the paper's own" in of_isic
    assert "it is the paper's own" in of_ph2
    assert (
        "exactly one confusion matrix gives 3 of the 4 figures (true positives 270, false negatives 15"
        in of_joint
    )
    assert "no confusion matrix of 570 images gives all four" in of_joint


def test_a_matrix_of_other_numbers_contradicts_the_stated_ones():
    found = paragraph(text(), "ph2")
    assert "true positives 19, false negatives 2, true negatives 18, false positives 1" in found
    assert "contradicts the stated counts: 21 malignant and 19 benign images" in found


def test_exchanged_columns_are_concluded_for_the_real_tables():
    section = text()
    assert f"{EXCHANGED} in Table II and in Table III, whose row for isic has the same figures" in section
    assert "what is called specificity is the negative predictive value" in section
    assert "all four figures of isic and ph2 fit the stated class counts only in this reading" in section
    assert "ph2 has a sensitivity of 0.9500 and a precision of 0.9047" in section


def test_table_3_is_left_out_where_it_has_other_figures():
    section = text(isic=NOWHERE)
    assert f"{EXCHANGED} in Table II, and what is called" in section
    assert "all four figures of ph2 fit" in section


def test_where_nothing_fits_nothing_is_concluded():
    section = text(isic=NOWHERE, ph2=NOWHERE, joint=NOWHERE)
    assert EXCHANGED not in section
    assert section.count("no confusion matrix gives more than") == 2 * 3
    assert "no confusion matrix of 530 images gives all four" in section


def test_where_a_row_fits_as_printed_nothing_is_concluded():
    section = text(isic=figures_of(262, 3, 7, 258))
    found = paragraph(section, "isic")
    assert "as printed, exactly one confusion matrix gives 4 of the 4 figures (true positives 262" in found
    assert "it is the paper's own matrix; with the columns exchanged, no confusion matrix" in found
    assert "which has the stated class counts" in found
    assert EXCHANGED not in section


def test_a_row_that_fits_either_way_speaks_for_neither():
    section = text(joint=figures_of(280, 5, 5, 280))
    assert f"{EXCHANGED} in Table II and in Table III" in section
    assert "all four figures of isic and ph2 fit" in section


def test_several_matrices_are_all_told():
    checked = {"published": FIGURES} | paper_figures.check(FIGURES, tolerance=1e-4)
    own = FIGURES["confusion"]["ph2"]
    both = {"num_fitting": 3, "counts": [own, FIGURES["confusion"]["joint"]]}
    found = checked["stated_counts"] | {"ph2": {"as_printed": both, "exchanged": both}}
    section = paragraph(contradictions(checked | {"stated_counts": found}), "ph2")
    assert "2 confusion matrices give 3 of the 4 figures (true positives 19" in section
    assert "or true positives 280" in section
    assert "the paper's own is among them" in section
