import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from melanoma import schema
from tests.pipelines.workspace import change_params, run_stage

ASSIGNED = Path("data/groups/assigned.csv")
FROM_INGEST = ("ingest", "inspect", "validate", "duplicates", "assign", "split")


def splits_by_id() -> dict[str, str]:
    assigned = pd.read_csv(ASSIGNED)
    return dict(zip(assigned["image_id"], assigned["split"], strict=True))


def planted(fault: str) -> str:
    metadata = pd.read_csv("data/raw/sample/metadata.csv").set_index("planted_fault")
    return str(metadata.loc[fault, "image_id"])


def original_of(copy: str) -> str:
    pairs = pd.read_csv("data/groups/duplicates.csv").set_index("other_image_id")
    return str(pairs.loc[copy, "image_id"])


def change_accepted(image_id: str, **values: Any) -> None:
    accepted = pd.read_parquet("data/accepted/sample.parquet")
    for column, value in values.items():
        accepted.loc[accepted["image_id"] == image_id, column] = value
    accepted.to_parquet("data/accepted/sample.parquet", index=False)


def test_every_accepted_image_has_a_split_and_the_planted_copy_that_of_its_original(at_workspace):
    assigned = pd.read_csv(ASSIGNED)
    accepted = pd.read_parquet("data/accepted/sample.parquet")
    assert tuple(assigned.columns) == schema.ASSIGNED_COLUMNS
    assert assigned["image_id"].tolist() == sorted(accepted["image_id"])
    copy = planted("near_duplicate")
    assert splits_by_id()[copy] == splits_by_id()[original_of(copy)]
    relations = pd.read_csv("data/groups/relations.csv")
    assert tuple(relations.columns) == schema.PAIR_COLUMNS
    assert {"same lesion", "same patient", "near duplicate", "same bytes"} <= set(relations["reason"])


def test_the_same_seed_gives_the_same_bytes_from_the_start_and_going_on(broken, capsys):
    before = ASSIGNED.read_bytes()
    assert run_stage("assign") == 0
    assert ASSIGNED.read_bytes() == before
    assert "67 kept their split, 0 are new" in capsys.readouterr().out
    ASSIGNED.unlink()
    assert run_stage("assign") == 0
    assert ASSIGNED.read_bytes() == before
    assert "no image had a split before" in capsys.readouterr().out


@pytest.mark.parametrize("change", [{"seed": 8}, {"train_fraction": 0.5, "test_fraction": 0.3}])
def test_another_plan_assigns_anew_and_says_so(broken, capsys, change):
    before = splits_by_id()
    change_params(broken / "params.yaml", assign=change)
    assert run_stage("assign") == 0
    assert splits_by_id() != before
    (line,) = capsys.readouterr().out.splitlines()
    said = "all assigned again, because params.yaml: assign has changed (before: "
    assert f"{said}'seed 7, 0.6/0.2/0.2, relative_shortage'): the splits of 67 images (sample 67) are" in line


def test_a_table_of_the_old_rule_is_kept_to_the_byte_or_refused_and_never_drawn_again(broken, capsys):
    change_params(broken / "params.yaml", assign={"rule": "absolute_shortage"})
    ASSIGNED.unlink()
    assert run_stage("assign") == 0  # as an earlier version wrote it
    of_old_rule = ASSIGNED.read_bytes()
    assert set(pd.read_csv(ASSIGNED)["plan"]) == {"seed 7, 0.6/0.2/0.2"}
    assert run_stage("assign") == 0
    assert ASSIGNED.read_bytes() == of_old_rule
    change_params(broken / "params.yaml", assign={"rule": "relative_shortage"})
    assert run_stage("assign") == 1
    message = capsys.readouterr().err
    assert "the splits of 67 images (sample 67) were drawn by the rule absolute_shortage" in message
    assert "set assign.rule: absolute_shortage" in message
    assert ASSIGNED.read_bytes() == of_old_rule
    change_params(broken / "params.yaml", assign={"seed": 8})
    assert run_stage("assign") == 0
    said = "all assigned again, because params.yaml: assign has changed (before: 'seed 7"
    assert said in capsys.readouterr().out


@pytest.mark.slow
def test_images_that_are_added_and_taken_out_move_nobody(broken, capsys):
    before = splits_by_id()
    splits_before = pd.read_csv("data/splits/sample.csv").set_index("image_id")["split"]
    taken_out = sorted(before)[5:8]
    change_params(broken / "params.yaml", sample={"num_lesions": 90, "num_second_views": 20})
    with_all = Path("params.yaml").read_text()
    change_params(broken / "params.yaml", validate={"excluded_ids": taken_out})
    for stage in ("sample", *FROM_INGEST):
        assert run_stage(stage) == 0, stage
    after = splits_by_id()
    assert len(after) == 67 + 30 + 14
    assert before.items() <= after.items()
    assert "67 kept their split, 44 are new" in capsys.readouterr().out
    now = pd.read_csv("data/splits/sample.csv")
    assert not set(now["image_id"]) & set(taken_out)
    assert len(now) == len(after) - len(taken_out)
    split_now = now.set_index("image_id")["split"]
    assert (split_now.reindex(splits_before.index).dropna() == splits_before.drop(taken_out)).all()
    assert now.groupby("group_id")["split"].nunique().max() == 1
    shares = now["split"].value_counts(normalize=True)
    assert abs(shares["train"] - 0.6) < 0.05

    Path("params.yaml").write_text(with_all)
    for stage in FROM_INGEST[2:]:
        assert run_stage(stage) == 0, stage
    assert splits_by_id() == after
    assert set(pd.read_csv("data/splits/sample.csv")["image_id"]) == set(after)


def test_a_patient_in_two_splits_leaves_training_and_the_report_says_why(broken):
    positive = pd.read_csv(ASSIGNED)
    positive = positive[(positive["target"] == 1) & ~positive["group_id"].duplicated(keep=False)]
    by_split = positive.groupby("split")["image_id"].first()
    for image_id in (by_split["train"], by_split["test"]):
        change_accepted(image_id, patient_id="one and the same")
    before = splits_by_id()
    for stage in ("assign", "split"):
        assert run_stage(stage) == 0
    assert splits_by_id() == before
    report = (broken / "reports/sample/split.json").read_text()
    assert f"its group is in test through {by_split['test']}" in report
    now = set(pd.read_csv("data/splits/sample.csv")["image_id"])
    assert by_split["train"] not in now
    assert by_split["test"] in now


def test_copies_with_different_labels_are_refused_with_both_files_and_how_to_mend_it(broken, capsys):
    copy = planted("near_duplicate")
    is_malignant = bool(pd.read_csv(ASSIGNED).set_index("image_id")["target"][copy])
    change_accepted(copy, target=int(not is_malignant))
    before = ASSIGNED.read_bytes()
    assert run_stage("assign") == 1
    message = capsys.readouterr().err
    for name in (copy, original_of(copy)):
        assert f"data/raw/sample/images/{name}.jpg" in message
    assert "params.yaml: validate.excluded_ids" in message
    assert ASSIGNED.read_bytes() == before


def test_splits_that_cannot_be_read_are_not_overwritten(broken, capsys):
    cut = ASSIGNED.read_bytes()[:-20]
    ASSIGNED.write_bytes(cut)
    assert run_stage("assign") == 1
    message = capsys.readouterr().err
    assert "data/groups/assigned.csv holds the split of every image, and it is damaged" in message
    assert "dvc checkout data/groups/assigned.csv" in message
    assert ASSIGNED.read_bytes() == cut


def test_splits_that_dvc_has_recorded_are_not_drawn_anew_where_the_file_is_missing(broken, params, capsys):
    Path("data/groups/assigned.csv").unlink()
    recorded = {"stages": {"assign": {"params": {"params.yaml": {"assign": params.assign.model_dump()}}}}}
    Path("dvc.lock").write_text(json.dumps(recorded))  # JSON is YAML
    assert run_stage("assign") == 1
    assert "`dvc pull data/groups/assigned.csv`" in capsys.readouterr().err
    assert not Path("data/groups/assigned.csv").exists()
    of_assign = recorded["stages"]["assign"]["params"]["params.yaml"]["assign"]
    rule = of_assign.pop("rule")  # an earlier version recorded none
    Path("dvc.lock").write_text(json.dumps(recorded))
    assert run_stage("assign") == 1
    of_assign |= {"rule": rule, "seed": of_assign["seed"] + 1}  # another plan's
    Path("dvc.lock").write_text(json.dumps(recorded))
    assert run_stage("assign") == 0
