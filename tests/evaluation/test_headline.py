import math

import numpy as np
import pytest

from melanoma import files
from melanoma.evaluation import headline
from melanoma.evaluation.metric_table import HEADLINE
from melanoma.evaluation.report import evaluate
from melanoma.schema import TEST

PROMOTION = {
    "registered_model": "melanoma-toy",
    "version": 7,
    "is_promoted": False,
    "reasons": ["r"],
    "is_acceptable": False,
    "accepted": None,
    "staging_version": None,
    "gates": [],
    "data_digest": "d" * 64,
    "looks": {},
}
MEASURED = {"value": 0.8, "low": 0.7, "high": 0.9}
SCORE = {"by_seed": {"1": 0.9}, "mean": 0.9, "min": 0.9, "max": 0.9}
COMPARISON = {
    "seeds": [1],
    "kept_seed": 1,
    "same_hyperparameters": False,
    "changed": {"depth": [3, 4]},
    "baseline": {"val_auc_roc": SCORE},
    "tuned": {"val_auc_roc": SCORE},
    "tuned_minus_baseline": {"val_auc_roc": SCORE},
}


def entry(name: str, value: str) -> dict:
    counts = dict.fromkeys(headline.COUNTS, 12)
    return (
        {"slice": name, "value": value, "prevalence": 0.5}
        | counts
        | dict.fromkeys(headline.OF_SLICE, MEASURED)
    )


@pytest.fixture
def found(index, scores, settings, described):
    report = evaluate(
        index,
        scores,
        settings,
        described=described,
        cohort="toy",
        is_synthetic=True,
        positive_means="melanoma",
        selected="tuned",
        sampling_powers={"baseline": 1, "tuned": 1},
    )
    models = {
        name: {"run_id": name * 2, "operating_point": report.points[name].to_dict()} for name in report.points
    }
    reference = {"num_images": 8, "auc_roc": MEASURED, "selected_minus_reference": MEASURED}
    return headline.gather(
        metrics=files.as_json(report.metrics),
        models=models,
        predictions=report.predictions,
        audit={"references": {"colour": reference}, "warnings": ["hair"]},
        comparison=COMPARISON,
        search="5 trials over depth; best is trial 3: depth 4",
        promotion=PROMOTION,
        slices=[
            entry("skin_tone", "estimated from pixels: 2 light"),
            entry("dataset", "ph2"),
        ],
    ), report


def test_it_holds_the_metrics_of_both_models_on_test_and_counts_of_the_selected_one(found):
    head, report = found
    for model in ("baseline", "tuned"):
        measured = report.metrics[model][TEST]
        shown = {metric.name: measured[metric.name] for metric in HEADLINE}
        assert head["metrics"][model] == {
            name: {
                key: None if isinstance(value, float) and math.isnan(value) else value
                for key, value in entry.items()
            }
            for name, entry in shown.items()  # JSON has no nan
        }
    assert (head["num_images"], head["num_malignant"]) == (8, 3)
    assert (head["cohort"], head["selected"], head["is_synthetic"]) == ("toy", "tuned", True)
    assert head["references"] == {"colour": {"auc_roc": MEASURED, "selected_minus_reference": MEASURED}}
    assert head["promotion"] == {name: PROMOTION[name] for name in headline.OF_PROMOTION}
    assert head["run_ids"] == {"baseline": "baseline" * 2, "tuned": "tuned" * 2}
    assert head["data_digest"] == "d" * 64
    assert "baseline 0.900" in head["seeds"]
    assert "tuned has depth 4 instead of depth 3" in head["seeds"]
    assert head["search"] == "5 trials over depth; best is trial 3: depth 4"
    assert head["same_hyperparameters"] is False
    assert [part["value"] for part in head["skin"]] == ["estimated from pixels: 2 light"]
    assert head["skin"][0].keys() == {"slice", "value", *headline.COUNTS, *headline.OF_SLICE}
    assert head["at_operating_point"] == files.as_json(report.metrics["tuned"][TEST]["at_operating_point"])


def test_the_roc_curve_has_its_corners_and_only_them(found):
    head, _ = found
    # 0.9 0.8 0.7 are positive, all below negative: up, then to the right.
    assert head["roc"]["tuned"] == {"false_positive_fraction": "0 0 1", "sensitivity": "0 1 1"}
    # The third positive image, 0.15, lies below four of the five negative ones.
    assert head["roc"]["baseline"] == {
        "false_positive_fraction": "0 0 0.8 0.8 1",
        "sensitivity": "0 0.6667 0.6667 1 1",
    }


def test_a_curve_without_one_class_is_words_for_undefined(found):
    _, report = found
    rows = report.predictions[report.predictions["target"] == 0]
    assert set(headline._roc(rows, "tuned")["sensitivity"].split()) == {"nan"}


def test_points_on_a_straight_piece_are_left_out():
    points = np.array([[0.0, 0.1, 0.2, 0.2, 1.0], [0.0, 0.2, 0.4, 0.9, 1.0]])
    assert headline._corners(points).tolist() == [True, False, True, True, True]


def test_it_can_be_written_and_read_again(found, tmp_path):
    head, _ = found
    files.write_json(head, tmp_path / "a.json")
    assert files.read_json(tmp_path / "a.json") == files.as_json(head)


def test_decisions_name_the_referral_band_and_the_missed_positive_images(found):
    head, report = found
    point = report.points["tuned"]
    assert headline.decisions(head).startswith(
        f"As a served model it answers negative below {point.refer_from:.3f} and positive from "
        f"{point.refer_to:.3f}, and refers images in between to a person: "
    )
    words = "refers images in between, and those unlike its training images, to a person: "
    assert words in headline.decisions(head | {"num_unlike": 0})
    missed = head["three_way"]["counts"]["positive"]["negative"]
    assert f"It calls {missed} of the 3 positive test images negative." in headline.decisions(head)


def test_a_headline_says_what_positive_means_and_an_older_one_what_it_meant(found):
    head, _ = found
    assert headline.decisions(head).endswith(" Positive means melanoma.")
    older = {name: value for name, value in head.items() if name != "positive_means"}
    assert headline.decisions(older).endswith(" Positive means malignant, as the data say.")


def test_a_headline_with_the_words_of_earlier_versions_reads_the_same(found):
    head, _ = found
    counts = {"malignant": {"benign": 1, "refer": 0, "malignant": 2}, "benign": {"benign": 5}}
    earlier = head | {"three_way": head["three_way"] | {"counts": counts}}
    assert "It calls 1 of the 3 positive test images negative." in headline.decisions(earlier)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"is_promoted": True, "reasons": [], "staging_version": 7},
            "passed the gates and received the alias staging, under which models are served.",
        ),
        ({}, "was refused: r. No version has the alias staging, so none is served."),
        ({"staging_version": 6}, "was refused: r. Version 6 has the alias staging and is served."),
        (
            {"staging_version": 7},
            "was refused: r. It still has the alias staging and is served; `python -m pipelines.rollback`",
        ),
        (
            {"is_acceptable": True},
            "was refused: r. A person may accept this: `python -m pipelines.accept`. No version has",
        ),
        (
            {"accepted": {"by": "A", "at": "today", "reason": "why."}, "staging_version": 7},
            "was refused: r. Accepted by A on today although the gates refused it, because: why.",
        ),
        (
            {
                "is_promoted": True,
                "reasons": [],
                "accepted": {"by": "A", "at": "today", "reason": "why."},
                "staging_version": 7,
            },
            "was refused at first. Accepted by A on today although the gates refused it, because: why.",
        ),
    ],
)
def test_the_verdict_says_which_version_is_served(changes, words):
    assert headline.verdict(PROMOTION | changes).startswith(f"melanoma-toy version 7 {words}")


def test_an_older_headline_leaves_out_the_metrics_that_it_does_not_have(found):
    head, _ = found
    of_all = headline.metric_rows(head, HEADLINE)
    assert [metric for metric, _ in of_all] == list(HEADLINE)
    assert of_all[0][1] == [head["metrics"][model]["auc_roc"] for model in ("baseline", "tuned")]
    entries = {name: entry for name, entry in head["metrics"]["tuned"].items() if name != "brier_skill"}
    older = head | {"metrics": head["metrics"] | {"tuned": entries}}
    left = [metric.name for metric, _ in headline.metric_rows(older, HEADLINE)]
    assert left == [metric.name for metric in HEADLINE if metric.name != "brier_skill"]


def test_a_verdict_of_an_earlier_version_is_told_as_well():
    older = {name: PROMOTION[name] for name in PROMOTION if name not in ("is_acceptable", "accepted")}
    assert headline.verdict(older) == headline.verdict(PROMOTION)
    assert headline.verdict_word(older) == "refused"
    assert headline.verdict_word(older | {"is_promoted": True}) == "passed"
    assert headline.verdict_word(older | {"accepted": {"by": "A"}}) == "accepted"
    assert headline.outcome({"is_judged": True, "is_passed": False}) == "NOT passed"
    assert headline.outcome({"is_judged": True, "is_passed": False, "is_acceptable": True}) == "NOT SHOWN"
    assert headline.outcome({"is_judged": False, "is_passed": None}) == "not judged"
    assert headline.outcome({"is_judged": True, "is_passed": True}) == "passed"
