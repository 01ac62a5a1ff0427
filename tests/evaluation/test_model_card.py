import copy
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from melanoma import files
from melanoma.evaluation import asked_and_got, bootstrap, gate, model_card, power
from melanoma.evaluation.contest import Contest, Served
from melanoma.evaluation.metric_table import TABLE
from melanoma.evaluation.report import evaluate
from melanoma.schema import NOT_A_DEVICE, TEST

HYPERPARAMETERS = {"learning_rate": 5e-4, "depth": 3}
MEASURED = {"value": 0.8, "low": 0.7, "high": 0.9}
COUNTS = {
    "num_images": 8,
    "num_groups": 7,
    "num_malignant": 3,
    "num_benign": 5,
    "num_malignant_groups": 2,
    "num_benign_groups": 5,
}


BALANCE = {
    "limit": 0.25,
    "measures": [
        {
            "measure": "female",
            "all": 0.5,
            "sides": {side: {"mean": 0.5, "difference": 0.01} for side in ("train", "validation", "test")},
        }
    ],
}


@pytest.fixture
def sources(index, scores, settings, described, rules):
    """As the stages write them, of toy scores."""
    report = evaluate(
        index,
        scores,
        settings,
        described=described,
        cohort="toy",
        is_synthetic=False,
        positive_means="melanoma",
        selected="tuned",
        sampling_powers={"baseline": 1, "tuned": 1},
    )
    rows = index[index["split"] == TEST]
    probability = scores["tuned"].loc[rows["image_id"]].to_numpy()
    draws = bootstrap.Draws(settings.num_bootstrap_draws, settings.seed)
    served = Served(report.points["tuned"].calibration.apply(probability), report.points["tuned"])
    colour = {"colour": probability}
    contest = Contest(rows["target"].to_numpy(), rows["group_id"].to_numpy(), served, None, colour, draws)
    verdict = gate.judge(contest, rules)
    promotion = verdict | {
        "registered_model": "melanoma-toy",
        "version": 7,
        "is_promoted": verdict["is_passed"],
        "data_digest": "d" * 64,
        "looks": {"num_looks": 5, "num_models": 4, "num_choices": 2},
    }
    variant = {"num_images": 8, "auc_roc": MEASURED, "mean_probability_change": 0.1, "flipped_fraction": 0.25}
    reference = {
        "auc_roc": MEASURED,
        "selected_minus_reference": bootstrap.described(0.1, np.array([0.0, 0.2])),
    }
    return model_card.Sources(
        model="tuned",
        entry={
            "run_id": "r" * 32,
            "operating_point": report.points["tuned"].to_dict(),
            "crop": None,
        },
        metrics=files.as_json(report.metrics),
        slices=files.as_json({"of": report.slices["tuned"]})["of"],
        audit={
            "variants": {"plain": variant},
            "references": {"colour": reference},
            "warnings": ["hair: turns"],
        },
        promotion=files.as_json(promotion),
        split={
            "splits": {"train": COUNTS, "test": COUNTS},
            "expected": power.expect(2, 5),
            "balance": BALANCE,
        },
        seeds={
            "kept_seed": 1,
            "seeds": [1],
            "tuned": {"val_auc_roc": {"mean": 0.9, "min": 0.9, "max": 0.9}},
        },
        search="5 trials over depth; best is trial 3",
        licences=pd.DataFrame(
            {"dataset": ["toy"], "licence": ["CC-0"], "attribution": ["A clinic"], "images": [24]}
        ),
        hyperparameters=HYPERPARAMETERS,
        min_slice_groups=settings.min_slice_groups,
    )


def changed(sources: model_card.Sources, **changes: object) -> model_card.Sources:
    return model_card.Sources(**(copy.deepcopy(vars(sources)) | changes))


def test_the_first_lines_say_which_model_and_whether_it_knows_anything_of_skin(sources):
    head = model_card.write(sources).split("##")[0]
    assert head.startswith("# melanoma-toy, version 7")
    assert "real images" in head
    assert NOT_A_DEVICE.capitalize() in head
    synthetic = changed(sources, metrics=sources.metrics | {"is_synthetic": True})
    assert "SYNTHETIC" in model_card.write(synthetic).split("##")[0]


def test_every_metric_stands_there_with_its_interval_as_measured(sources):
    card = model_card.write(sources)
    for metric in TABLE:
        entry = sources.metrics["tuned"][TEST][metric.name]
        (row,) = [line for line in card.splitlines() if line.startswith(f"| {metric.label} |")]
        assert bootstrap.in_words(entry) in row
        assert entry.get("undefined", "") in row  # says why


def test_one_auc_has_one_interval(sources):
    measured = sources.metrics["tuned"][TEST]["auc_roc"]
    assert sources.promotion["challenger"]["auc_roc"] == measured
    rows = [line for line in model_card.write(sources).splitlines() if "min_auc_roc_lower_bound" in line]
    assert [bootstrap.in_words(measured) in row for row in rows] == [True]


def test_data_licences_training_and_operating_point_are_told(sources):
    card = model_card.write(sources)
    assert "| train | 8 | 7 | 3 | 2 | 5 |" in card
    assert power.in_words(2, power.expect(2, 5)) in card
    assert "| toy | CC-0 | A clinic | 24 |" in card
    assert "best is trial 3" in card
    assert "| depth | 3 |" in card
    assert "(hold-out inside training), which chose their epochs: AUC 0.900 on average" in card


def test_the_card_says_first_what_positive_means(sources):
    sources.metrics["positive_means"] = "melanoma or basal cell carcinoma"
    card = model_card.write(sources)
    assert "Positive means melanoma or basal cell carcinoma. All other lesions are negative" in card
    assert card.index("Positive means") < card.index("## Use")


def test_the_operating_point_says_what_was_asked_and_what_it_got(sources):
    card = model_card.write(sources)
    point, test = sources.entry["operating_point"], sources.metrics["tuned"][TEST]
    for row in asked_and_got.table(point, test):
        assert f"| {' | '.join(row)} |" in card
    assert "Chosen on 8 calibration images (validation split), 3 of them positive, in 2 groups" in card
    assert all(f"* {note}" in card for note in asked_and_got.notes(point))
    assert "**Warning**" not in card


def test_warnings_of_the_operating_point_stand_beside_it(sources):
    sources.entry["operating_point"]["evidence"]["warnings"] = ["the referral band was narrowed"]
    section = model_card.write(sources).split("## Operating point")[1].split("##")[0]
    assert "* **Warning**: the referral band was narrowed." in section


def test_parts_with_too_few_images_are_counted_and_not_measured(sources):
    card = model_card.write(sources)
    (row,) = [line for line in card.splitlines() if line.startswith("| diagnosis: melanoma")]
    few = "n too small"  # also for specificity, and for observed / expected
    assert row == f"| diagnosis: melanoma | 3 | 3 | {few} | 1.000 (0.129 to 1.000) | {few} | {few} |"


def test_the_balance_of_the_sides_is_told_and_older_splits_have_none(sources):
    card = model_card.write(sources)
    assert "| female | 0.5 | 0.5 (+0.01) | 0.5 (+0.01) | 0.5 (+0.01) |" in card
    assert "In the smallest of the three it exceeds 0.250 by chance in 5 % of splits." in card
    older = {name: value for name, value in sources.split.items() if name != "balance"}
    assert "standardised difference" not in model_card.write(replace(sources, split=older))


def test_gates_looks_and_warnings_are_told(sources):
    card = model_card.write(sources)
    assert "Verdict: **refused**" in card  # five positive groups are wanted, there are fewer
    assert "| min_malignant_groups | NOT passed |" in card
    assert card.count("used 5 times for 4 models, 2 times to choose a model") == 1  # beside the metrics
    assert "* hair: turns" in card
    passed = changed(sources, promotion=sources.promotion | {"is_promoted": True})
    assert "passed and received the alias staging" in model_card.write(passed)


def test_what_nobody_has_measured_is_shown_as_open(sources):
    card = model_card.write(sources)
    assert card.count("**open**") == 3
    assert "skin tone" in card


def test_undefined_values_are_called_so(sources):
    metrics = copy.deepcopy(dict(sources.metrics))
    metrics["tuned"][TEST]["auc_roc"] = dict.fromkeys(("value", "low", "high"))
    card = model_card.write(changed(sources, metrics=metrics))
    (row,) = [line for line in card.splitlines() if line.startswith("| AUC |")]
    assert row.endswith("| undefined |")


def test_the_card_says_what_part_of_a_picture_the_network_sees(sources):
    assert "Input of the network: the whole image, resized to a square." in model_card.write(sources)
    crop = {
        "kind": "unet",
        "margin_fraction": 0.15,
        "min_lesion_fraction": 0.005,
        "segmenter_sha256": "5" * 64,
    }
    sources.entry["crop"] = crop
    card = model_card.write(sources)
    assert "Input of the network: a square around the lesion, located by a U-Net, with a margin" in card


def test_the_card_says_which_code_scored_the_champion_and_what_it_refused(sources):
    alone = model_card.write(sources)
    assert "The champion was scored" not in alone
    compared = {"champion_scored_by": "its own code", "refused_by_champion": []}
    card = model_card.write(changed(sources, promotion=sources.promotion | compared))
    assert "The champion was scored by its own code." in card
    assert "It refused" not in card
    compared["refused_by_champion"] = ["a", "b"]
    card = model_card.write(changed(sources, promotion=sources.promotion | compared))
    assert "It refused 2 images, which are left out for all models." in card
    anchored = compared | {"anchor_scored_by": "this code", "refused_by_anchor": [], "anchor_version": 3}
    rival = {"attempt": 4, "champion": sources.promotion["challenger"]}
    card = model_card.write(changed(sources, promotion=sources.promotion | anchored | rival))
    assert "The anchor was scored by this code." in card
    assert "This is attempt 4 since the anchor (version 3) was set: " in card


def test_the_card_begins_with_who_accepted_a_refused_version(sources):
    accepted = {"by": "A. Name", "at": "2026-05-17 10:00 UTC", "reason": "few images."}
    card = model_card.write(changed(sources, promotion=sources.promotion | {"accepted": accepted}))
    line = (
        "**Accepted by A. Name on 2026-05-17 10:00 UTC although the gates refused it, because: few images.**"
    )
    assert card.split("\n\n")[1] == line
    assert "Accepted by" not in model_card.write(sources)
    assert "Verdict: **accepted by a person**" in card
    refused = model_card.with_line(model_card.write(sources), line.strip("*"))
    assert refused.replace("Verdict: **refused**", "Verdict: **accepted by a person**") == card


def test_a_comparison_that_was_not_shown_and_a_reference_that_was_not_measured_are_called_so(sources):
    gate_not_shown = {"name": "max_primary_drop", "is_judged": True, "is_passed": False, "words": "w"}
    gates = [gate_not_shown | {"is_acceptable": True}]
    card = model_card.write(changed(sources, promotion=sources.promotion | {"gates": gates}))
    assert "| max_primary_drop | NOT SHOWN | w |" in card
    assert "| lesion_size | not measured: no masks |  |" in card
