"""Part of the stage `promote`: the images of use that champion and challenger both answered."""

from pathlib import Path

import pandas as pd

from melanoma.config.evaluation import Promote
from melanoma.evaluation.contest import ShadowRows
from melanoma.monitoring import audit_draws, labels, records
from melanoma.registry.versions import CHALLENGER, STAGING, Version
from melanoma.serving.records import RECORDS, S3
from melanoma.serving.shadow import SHADOW
from melanoma.stages.labelled_answers import equally_drawn
from melanoma.stages.records import local_spool, opened


def load(rules: Promote, challenger: Version, champion: Version | None, *, cohort: str) -> ShadowRows | None:
    """The images that both answered, with the labels that count.

    If the audit has drawn among the champion's answers, only labels of the audit count, of groups that a draw
    with one probability for all would have drawn. Without an audit all labels count. A reader who chooses
    what to label biases each model's own AUC, and the difference less, because both models answered the same
    images; but images that were chosen because the models disagree bias the difference, too.

    Args:
        rules: Section `promote` of params.yaml.
        challenger: The version that is judged.
        champion: The version that holds `staging`; None if none does.
        cohort: Cohort of both, for the instructions.

    Returns:
        None if `min_shadow_rows` is off, or if there is no other version that could have been served.

    Raises:
        DataError: A file of records or labels cannot be used.
        StorageError: The store cannot be reached or refuses.
        TrackingError: The environment has no key or spool, see `serving.records`.
    """
    place = rules.shadow_records
    if rules.min_shadow_rows is None or place is None or champion is None:
        return None
    if str(champion.version) == str(challenger.version):
        return None
    if not place.startswith(S3):
        Path(place).mkdir(parents=True, exist_ok=True)  # no server has written to it yet
    with opened(place) as folder:
        found, draws = records.read(folder, spool=local_spool(place)), audit_draws.read(folder)
    paths = [Path(one) for one in rules.shadow_labels]
    given = labels.read(paths, found.rows)
    both = _answered_by(_of_champion(found.rows, champion), challenger)
    counted = _that_count(both, draws, given.rows)
    both = both.merge(counted, on="prediction_id", how="left", validate="1:1")
    # An image that was posted again counts once, with its label if there is one.
    both = both.sort_values(["label", "time"], kind="stable").drop_duplicates("image_sha256")
    return ShadowRows(
        champion=both["probability"].to_numpy(float),
        challenger=both["shadow_probability"].to_numpy(float),
        differs=(both["decision"] != both["shadow_decision"]).to_numpy(bool),
        group_ids=both["group"].to_numpy(str),
        target=both["label"].to_numpy(float),
        how_to_get_more=_instructions(challenger.name, place, cohort),
        problems=[*given.describe(), *(f"{num} {what}" for what, num in found.problems.items())],
    )


def _of_champion(rows: pd.DataFrame, champion: Version) -> pd.DataFrame:
    answers = audit_draws.answered(rows)
    is_mine = (answers["model_name"] == champion.name) & (answers["model_version"] == str(champion.version))
    return answers[is_mine]


def _answered_by(answers: pd.DataFrame, challenger: Version) -> pd.DataFrame:
    is_named = answers["shadow_model_name"] == challenger.name
    is_version = answers["shadow_model_version"] == str(challenger.version)
    return answers[(is_named & is_version).fillna(False) & answers["shadow_probability"].notna()]


def _that_count(answers: pd.DataFrame, draws: pd.DataFrame, given: pd.DataFrame) -> pd.DataFrame:
    """`prediction_id` and `label` (1 or 0) of the answers whose labels count."""
    mine = draws[draws["prediction_id"].isin(answers["prediction_id"])]
    if len(mine):
        name = mine["model_name"].iloc[0]
        drawn = audit_draws.sensitivity_answers(answers, mine, given, model_name=name)
        given = equally_drawn(drawn, mine["probability_drawn"].min())
    return given[["prediction_id", "label"]].astype({"prediction_id": "str", "label": "float64"})


def _instructions(name: str, place: str, cohort: str) -> str:
    return (
        f"Serve models:/{name}@{STAGING} with {SHADOW}=models:/{name}@{CHALLENGER} and {RECORDS}={place}, "
        f"then run `dvc repro --force --single-item promote@{cohort}`"
    )
