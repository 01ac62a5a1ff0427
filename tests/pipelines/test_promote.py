import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from melanoma import fingerprint, tracking
from melanoma.evaluation import comparisons
from melanoma.registry import anchors, ledger, versions
from melanoma.stages import champion_scores
from pipelines import _cli, accept, history, rollback
from tests.imports import ROOT
from tests.pipelines.workspace import change_params, command, copy_with_store, inside, run_stage

NAME = "melanoma-sample"
SAME_CODE = champion_scores.SAME_CODE.format(role="champion")


def verdict() -> dict:
    return json.loads(Path("reports/sample/promotion.json").read_text())


@pytest.fixture(scope="module")
def evaluated(workspace):
    """The workspace before anything was promoted: its registry is empty; read-only."""
    return workspace.parent / "evaluated"


@pytest.fixture
def fresh(evaluated, tmp_path):
    """The current folder is a copy of that, to break things in."""
    folder = copy_with_store(evaluated, tmp_path / "fresh")
    with inside(folder):
        yield folder


@pytest.fixture(scope="module")
def with_challenger(evaluated, tmp_path_factory):
    """Version 1 holds `staging`; another version of the same network is evaluated and audited; read-only."""
    folder = copy_with_store(evaluated, tmp_path_factory.mktemp("with_challenger") / "copy")
    with inside(folder):
        assert run_stage("promote") == 0
        # Another operating point makes another version, whose scores have the same order.
        change_params(folder / "params.yaml", evaluate={"min_sensitivity": 0.5})
        for stage in ("evaluate", "audit"):
            assert run_stage(stage) == 0
    return folder


@pytest.fixture
def challenged(with_challenger, tmp_path):
    """The current folder is a copy of that, to break things in."""
    folder = copy_with_store(with_challenger, tmp_path / "challenged")
    with inside(folder):
        yield folder


def test_evaluate_audit_and_gates_give_one_auc_one_interval(at_workspace):
    metrics, audit = (
        json.loads(Path(f"reports/sample/{name}.json").read_text()) for name in ("metrics", "audit")
    )
    measured = metrics[metrics["selected"]]["test"]["auc_roc"]
    assert audit["variants"]["plain"]["auc_roc"] == measured
    assert verdict()["challenger"]["auc_roc"] == measured


def test_the_promotion_tells_what_the_operating_point_got_with_every_warning(at_workspace):
    promotion = json.loads(Path("reports/sample/promotion.json").read_text())
    models = json.loads(Path("reports/sample/models.json").read_text())
    told = promotion["operating_point"]
    assert told["warnings"] == models[models["selected"]]["operating_point"]["evidence"]["warnings"]
    assert [row["name"] for row in told["rows"]] == ["threshold", "band_start", "band_end", "referred"]


def test_the_first_model_that_passes_holds_the_alias(at_workspace):
    assert verdict()["is_promoted"]
    assert verdict()["previous_version"] is None
    version = versions.find_version(NAME, versions.STAGING)
    assert int(version.version) == verdict()["version"] == 1
    assert version.tags["is_synthetic"] == "true"
    assert version.tags["gate"] == "passed"


def test_a_refusal_names_its_reasons_and_leaves_the_alias_alone(fresh, capsys):
    change_params(fresh / "params.yaml", promote={"min_malignant_groups": 1000})
    assert run_stage("promote") == 0
    assert not verdict()["is_promoted"]
    assert "at least 1000 are required" in verdict()["reasons"][0]
    assert "refused" in capsys.readouterr().out
    assert versions.find_version(NAME, versions.STAGING) is None
    assert verdict()["staging_version"] is None
    assert versions.find_version(NAME, versions.CHALLENGER) is not None


def test_the_same_model_twice_is_one_version(fresh):
    assert run_stage("promote") == 0
    assert run_stage("promote") == 0
    assert len(tracking.client().search_model_versions(f"name = '{NAME}'")) == 1
    assert verdict()["is_promoted"]
    assert "champion" not in verdict()  # it is not compared with itself
    assert verdict()["previous_version"] is None


def change_scores(model: str, score) -> None:
    """Give the images of a model other scores."""
    predictions = pd.read_csv("reports/sample/predictions.csv")
    of_model = predictions["model"] == model
    predictions.loc[of_model, "score"] = score(predictions[of_model])
    predictions.to_csv("reports/sample/predictions.csv", index=False)


def test_a_worse_challenger_is_refused_and_the_champion_stays(challenged, capsys):
    champion = versions.find_version(NAME, versions.STAGING)
    # wrong about every image: AUC 0
    change_scores(
        verdict()["model"],
        lambda rows: np.where(rows["target"] == 1, rows["score"].min(), rows["score"].max()),
    )
    assert run_stage("promote") == 0
    result = verdict()
    assert not result["is_promoted"]
    assert result["challenger"]["auc_roc"]["value"] == 0
    assert any("challenger minus champion on the same images" in reason for reason in result["reasons"])
    assert result["previous_version"] == result["staging_version"] == int(champion.version)
    assert versions.find_version(NAME, versions.STAGING).version == champion.version
    challenger = versions.find_version(NAME, versions.CHALLENGER)
    assert int(challenger.version) == result["version"] != int(champion.version)
    assert "challenger minus champion" in challenger.tags["gate_reasons"]
    assert "refused" in capsys.readouterr().out
    (refusal,) = [entry for entry in ledger.entries(NAME) if entry.kind == ledger.REFUSAL]
    assert refusal.version == result["version"]
    assert "challenger minus champion" in refusal.tags["reason"]


def test_another_version_that_is_not_worse_takes_the_alias_and_the_ledger_knows_both(challenged):
    assert run_stage("promote") == 0
    assert verdict()["is_promoted"]
    assert verdict()["challenger_minus_champion"]["auc_roc"]["value"] == 0  # the order of scores is the same
    assert verdict()["champion_scored_by"] == SAME_CODE
    assert verdict()["challenger"]["auc_roc"] == verdict()["champion"]["auc_roc"]
    moves = ledger.moves(NAME, versions.STAGING)
    assert [(entry.previous, entry.version) for entry in moves] == [(None, 1), (1, 2)]
    assert all(entry.status == tracking.FINISHED for entry in moves)


def test_a_network_that_does_not_beat_colour_is_refused(fresh):
    change_params(fresh / "params.yaml", promote={"must_beat_references": ["colour"]})
    references = pd.read_csv("reports/sample/references.csv")
    references["colour"] = references["target"].astype(float)
    references.to_csv("reports/sample/references.csv", index=False)
    assert run_stage("promote") == 0
    assert not verdict()["is_promoted"]
    assert (
        "a logistic regression on colours alone, whose AUC on the same images is 1.000"
        in verdict()["reasons"][0]
    )
    assert verdict()["colour"]["auc_roc"]["value"] == 1


def staging_entries() -> list[tuple[str, int | None, str]]:
    """Kind, version and anchor of each move of the alias."""
    return [
        (entry.kind, entry.version, entry.tags[anchors.VERSION_TAG])
        for entry in ledger.moves(NAME, versions.STAGING)
    ]


def test_the_first_promoted_version_is_the_anchor_and_stays_while_nothing_better_is_shown(challenged):
    assert run_stage("promote") == 0
    assert staging_entries() == [("promote", 1, "1"), ("promote", 2, "1")]
    assert verdict()["anchor_version"] == 1
    assert "challenger_minus_anchor" not in verdict()  # the anchor is the champion: one comparison
    assert verdict()["attempt"] == 1
    change_params(challenged / "params.yaml", evaluate={"min_sensitivity": 0.6})
    for stage in ("evaluate", "audit", "promote"):
        assert run_stage(stage) == 0
    third = verdict()
    assert third["version"] == 3
    assert (third["attempt"], third["anchor_version"]) == (2, 1)
    assert third["challenger_minus_anchor"]["auc_roc"]["value"] == 0
    assert third["challenger_minus_anchor"]["auc_roc"]["level"] == comparisons.level_of(2)
    assert third["anchor_scored_by"] == champion_scores.SAME_CODE.format(role="anchor")
    assert "max_primary_drop: anchor" in [gate["name"] for gate in third["gates"]]
    assert "This is attempt 2" in Path("reports/sample/model_card.md").read_text()
    assert run_stage("promote") == 0  # the holder is judged again: neither itself nor the anchor is a rival
    assert verdict()["is_promoted"]
    assert len(staging_entries()) == 3


def test_the_anchor_starts_anew_when_the_plan_of_the_splits_changes(challenged):
    assigned = pd.read_csv("data/groups/assigned.csv", dtype="string")
    assigned.assign(plan=assigned["plan"] + ", another seed").to_csv("data/groups/assigned.csv", index=False)
    assert run_stage("promote") == 0
    assert verdict()["anchor_version"] is None
    assert staging_entries() == [("promote", 1, "1"), ("promote", 2, "2")]


def test_a_champion_that_calls_other_lesions_positive_is_not_compared(challenged, capsys):
    store = tracking.client()
    store.set_model_version_tag(NAME, "1", "positive_means", "basal cell carcinoma")
    assert run_stage("promote") == 1
    message = capsys.readouterr().err
    assert "version 1 holds the alias staging and calls positive: basal cell carcinoma" in message
    assert "The challenger calls positive: melanoma" in message
    assert int(versions.find_version(NAME, versions.STAGING).version) == 1
    store.set_model_version_tag(NAME, "1", "positive_means", "melanoma")
    assert run_stage("promote") == 0


def test_an_anchor_whose_files_are_gone_is_named_with_the_way_out(challenged, capsys):
    assert run_stage("promote") == 0
    change_params(challenged / "params.yaml", evaluate={"min_sensitivity": 0.6})
    for stage in ("evaluate", "audit"):
        assert run_stage(stage) == 0
    store = tracking.client()
    anchor = Path(store.get_model_version_download_uri(NAME, "1").removeprefix("file://"))
    moved = anchor.rename(anchor.with_name("moved"))
    assert run_stage("promote") == 1
    message = capsys.readouterr().err
    assert "The anchor cannot be compared with the challenger" in message
    assert "remove the alias staging" in message
    moved.rename(anchor)
    assert run_stage("promote") == 0
    assert verdict()["version"] == 3


def test_what_could_not_be_shown_is_accepted_by_a_person_and_told_everywhere(challenged, capsys):
    change_params(challenged / "params.yaml", promote={"min_groups_not_worse": 1000})
    assert run_stage("promote") == 0
    assert not verdict()["is_promoted"]
    assert verdict()["is_acceptable"]
    assert "A person may accept this: `python -m pipelines.accept`" in capsys.readouterr().out
    who = ["--cohort", "sample", "--by", "A. Name", "--reason", "few images, looks fine"]
    assert _cli.run(accept.main, who) == 0
    said = capsys.readouterr().out
    assert "staging is version 2 now, version 1 before" in said
    assert "`dvc repro --force --single-item promote@sample`, then `dvc repro page`" in said
    version = versions.find_version(NAME, versions.STAGING)
    assert (int(version.version), version.tags["gate"]) == (2, "accepted")
    assert "cannot be shown" in version.tags["gate_reasons"]
    line = "**Accepted by A. Name on "
    assert line in version.description.split("##")[0]
    (challenged / "card").mkdir()
    card = tracking.download_run_file(version.tags["run_id"], "model_card.md", challenged / "card")
    assert line in card.read_text()
    assert staging_entries()[-1] == ("accept", 2, "1")
    assert run_stage("promote") == 0  # judged again, now as the holder: the card still tells who accepted it
    assert line in Path("reports/sample/model_card.md").read_text()
    assert verdict()["accepted"]["by"] == "A. Name"
    headline = json.loads(Path("reports/headlines/sample.json").read_text())
    assert headline["promotion"]["accepted"] == verdict()["accepted"]
    assert run_stage("page") == 0
    assert (
        "although the gates refused it, because: few images, looks fine."
        in Path("reports/index.html").read_text()
    )
    assert "Verdict: **accepted by a person**" in Path("reports/sample/model_card.md").read_text()
    assert versions.find_version(NAME, versions.STAGING).tags["gate"] == "accepted"
    assert _cli.run(history.main, [NAME]) == 0
    assert "few images, looks fine" in " ".join(capsys.readouterr().out.split())
    back = ["--by", "B. Name", "--reason", "rather not", "--alias", "staging"]
    assert _cli.run(rollback.main, [NAME, *back]) == 0
    assert int(versions.find_version(NAME, versions.STAGING).version) == 1


def test_looks_at_the_test_split_are_counted(fresh):
    assert run_stage("promote") == 0
    first = verdict()["looks"]
    # evaluate looked at two models, audit at one of them, and so did promote
    assert (first["num_looks"], first["num_choices"]) == (4, 1)
    assert first["num_models"] in {1, 2}  # the study may have found the baseline itself
    assert run_stage("promote") == 0
    assert verdict()["looks"] == first | {"num_looks": 5, "num_choices": 2}


def test_a_model_whose_files_were_changed_is_refused_and_nothing_moves(fresh, capsys):
    models = json.loads(Path("reports/sample/models.json").read_text())
    models[models["selected"]]["network_sha256"] = "0" * 64
    Path("reports/sample/models.json").write_text(json.dumps(models))
    assert run_stage("promote") == 1
    message = capsys.readouterr().err
    assert "cannot be trusted" in message
    assert "Nothing was moved" in message
    assert versions.find_version(NAME, versions.STAGING) is None


def test_an_operating_point_that_is_not_the_served_one_is_refused(fresh, capsys):
    models = json.loads(Path("reports/sample/models.json").read_text())
    models[models["selected"]]["operating_point"]["threshold"] = 0.123
    Path("reports/sample/models.json").write_text(json.dumps(models))
    assert run_stage("promote") == 1
    assert "have different operating points" in capsys.readouterr().err
    assert versions.find_version(NAME, versions.STAGING) is None


def test_a_kill_between_register_and_alias_is_mended_by_the_next_run(fresh):
    """The child dies by SIGKILL right when it would move the alias; the version is there, the move "
    "entered."""
    child = (
        "import os, signal; from melanoma.registry import versions; real = versions.set_alias\n"
        "def die(name, alias, number):\n"
        "    if alias == 'staging': os.kill(os.getpid(), signal.SIGKILL)\n"
        "    real(name, alias, number)\n"
        "versions.set_alias = die\n"
        "import sys; from pipelines import promote; promote.main(sys.argv[1:])"
    )
    arguments = [sys.executable, "-c", child, *command("promote", "sample")]
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    killed = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert versions.find_version(NAME, versions.STAGING) is None
    assert len(ledger.unfinished(NAME)) == 1
    assert run_stage("promote") == 0
    assert verdict()["is_promoted"]
    assert verdict()["version"] == 1
    assert ledger.unfinished(NAME) == []
    assert [entry.status for entry in ledger.entries(NAME, alias="staging")] == ["FAILED", "FINISHED"]


@pytest.mark.slow
def test_two_promotions_at_once_leave_one_version_one_alias_and_one_move(fresh):
    arguments = [sys.executable, "-m", "pipelines.promote", *command("promote", "sample")]
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    children = [
        subprocess.Popen(
            arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for _ in range(2)
    ]
    outputs = [child.communicate()[0] for child in children]
    assert [child.returncode for child in children] == [0, 0], outputs
    assert len(tracking.client().search_model_versions(f"name = '{NAME}'")) == 1
    assert (
        versions.find_version(NAME, versions.STAGING).version
        == versions.find_version(NAME, versions.CHALLENGER).version
    )
    assert [entry.version for entry in ledger.moves(NAME)] == [1]
    assert ledger.unfinished(NAME) == []


def test_the_model_card_is_written_and_hangs_on_run_and_version(at_workspace):
    card = Path("reports/sample/model_card.md").read_text()
    assert "SYNTHETIC" in card.split("##")[0]
    version = versions.find_version(NAME, versions.STAGING)
    shown = version.description.removesuffix(versions.CUT)
    assert card.startswith(shown)
    assert len(version.description) < 5000  # what MLflow's tables hold
    assert len(shown) > 4000
    run_id = version.tags["run_id"]
    assert "model_card.md" in {file.path for file in tracking.client().list_artifacts(run_id)}


def give_champion_other_code(change) -> versions.Version:
    """Change the code that travels with the champion, as if other code had logged and registered it."""
    champion = versions.find_version(NAME, versions.STAGING)
    store = tracking.client()
    folder = Path(store.get_model_version_download_uri(NAME, champion.version).removeprefix("file://"))
    code = fingerprint.travelling_code(folder)
    change(code)
    tags = {
        fingerprint.FILES_TAG: fingerprint.digest_of_files(folder),
        fingerprint.CODE_TAG: fingerprint.digest_of_code(code),
    }
    assert tags[fingerprint.CODE_TAG] != fingerprint.digest_of_code()
    for tag, digest in tags.items():
        store.set_model_version_tag(NAME, champion.version, tag, digest)
    return champion


def turn_scores(code: Path) -> None:
    """Code that calls positive what this code calls negative."""
    module, head = (
        code / "scoring" / "operating_point.py",
        "def apply(self, score: np.ndarray) -> np.ndarray:\n",
    )
    module.write_text(module.read_text().replace(head, f"{head}        score = 1.0 - score\n", 1))


def break_code(code: Path) -> None:
    (code / "schema.py").write_text("raise SystemExit('this code needs an older Python')\n")


def test_a_champion_is_scored_by_its_own_code(challenged):
    give_champion_other_code(turn_scores)
    assert run_stage("promote") == 0
    result = verdict()
    assert result["champion_scored_by"] == champion_scores.OWN_CODE
    assert result["refused_by_champion"] == []
    challenger, champion = result["challenger"]["auc_roc"]["value"], result["champion"]["auc_roc"]["value"]
    assert champion == pytest.approx(1 - challenger)
    assert champion != challenger


def test_a_champion_whose_code_cannot_be_run_is_refused_and_nothing_moves(challenged, capsys):
    champion = give_champion_other_code(break_code)
    assert run_stage("promote") == 1
    message = capsys.readouterr().err
    assert "cannot be compared with the challenger" in message
    assert "this code needs an older Python" in message
    assert versions.find_version(NAME, versions.STAGING).version == champion.version


def test_an_image_that_was_changed_since_is_not_given_to_a_champion_of_other_code(challenged, capsys):
    give_champion_other_code(turn_scores)
    splits = pd.read_csv("data/splits/sample.csv", dtype="string")
    accepted = pd.read_parquet("data/accepted/sample.parquet").set_index("image_id")
    path = Path(accepted.loc[splits.loc[splits["split"] == "test", "image_id"].iloc[0], "path"])
    path.write_bytes(path.read_bytes() + b" ")
    assert run_stage("promote") == 1
    assert f"1 test images are missing or have changed since validation: {path}" in capsys.readouterr().err


def test_a_champion_that_takes_images_of_another_size_is_compared_on_the_image_files(challenged):
    change_params(challenged / "params.yaml", baseline={"image_size": 40})
    for stage in ("pack", "promote"):
        assert run_stage(stage) == 0
    assert verdict()["champion_scored_by"] == SAME_CODE
    assert verdict()["num_images"] > 0
    champion = verdict()["champion"]["auc_roc"]["value"]
    first = json.loads(versions.get_version(NAME, 1).tags["test_auc_roc"])
    assert champion == pytest.approx(first)


def test_images_that_the_champion_learned_from_do_not_count(challenged):
    """Those that calibrated the champion are now the test images."""
    num_before = verdict()["num_images"]
    sides = {"train": "train", "test": "validation", "validation": "test"}
    for table in (
        "data/splits/sample.csv",
        "reports/sample/predictions.csv",
        "reports/sample/references.csv",
    ):
        rows = pd.read_csv(table)
        rows.assign(split=rows["split"].map(sides)).to_csv(table, index=False)
    for stage in ("pack", "promote"):
        assert run_stage(stage) == 0
    assert num_before > 0
    assert verdict()["num_images"] == 0
    assert not verdict()["is_promoted"]


def test_images_that_a_withheld_one_of_the_champion_is_related_to_do_not_count(challenged):
    """The champion trained on an image that has since been tied to a test image."""
    num_before = verdict()["num_images"]
    assigned = pd.read_csv("data/groups/assigned.csv", dtype="string")
    group = assigned[assigned["split"] == "test"].groupby("group_id").filter(lambda rows: len(rows) == 1)
    learned = assigned.index[assigned["split"] == "train"][0]
    assigned.loc[learned, ["group_id", "withheld"]] = [group["group_id"].iloc[0], "its group is in test"]
    assigned.to_csv("data/groups/assigned.csv", index=False)
    assert run_stage("promote") == 0
    assert verdict()["num_images"] == num_before - 1
