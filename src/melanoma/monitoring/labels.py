"""Read the labels that readers gave to recorded images.

A file is the CSV of `pipelines.queue` with its column `label` filled in: positive, negative or blank. A label
belongs to an image, so it holds for all answers about that image. A row that cannot be used is left out,
named and counted; all others go on.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from melanoma import files
from melanoma.data.sources.source_tables import read_table
from melanoma.errors import DataError, first_offenders
from melanoma.monitoring.audit_draws import answered
from melanoma.schema import BENIGN_LESION, MALIGNANT_CLASSES, MALIGNANT_LESION, known_classes
from melanoma.scoring.operating_point import NEGATIVE, POSITIVE

LABEL, IDS = "label", ("prediction_id", "image_sha256")
COLUMNS = (*IDS, LABEL, "diagnosis", "labelled_at")
VALUES = {POSITIVE: 1.0, NEGATIVE: 0.0}
ZONE = r"(?:Z|[+-]\d\d:?\d\d)$"
UNKNOWN_WORD = f"labels that are not {POSITIVE}, {NEGATIVE} or blank"
UNKNOWN_IMAGE = "labels of images without an answer"
OTHER_IMAGE = "labels whose prediction_id and image_sha256 are of different images"
UNREADABLE_DATE = "labels whose labelled_at is not a date such as 2026-05-31"
BEFORE_ANSWER = "labels that are older than the first answer about their image"
DISAGREE = "labels of an image that disagree"


@dataclass(frozen=True)
class Labels:
    """Labels of recorded images.

    Attributes:
        rows: One row for each answer about a labelled image: `prediction_id`, `image_sha256`, `label` (1
            positive, 0 negative), `diagnosis` and `labelled_at`, which may be missing.
        offenders: Rows of the files that were left out, as `file:row`, by the problem.
    """

    rows: pd.DataFrame
    offenders: dict[str, list[str]]

    @property
    def problems(self) -> Counter[str]:
        """The number of rows that were left out, by the problem."""
        return Counter({problem: len(names) for problem, names in self.offenders.items()})

    def describe(self) -> list[str]:
        """A line for each problem, with the first five rows that have it."""
        return [
            f"{len(names)} {problem}: {first_offenders(names)}" for problem, names in self.offenders.items()
        ]


def read(paths: Sequence[Path], rows: pd.DataFrame) -> Labels:
    """Read label files, and join them with the answers that they are about.

    A row is joined by `prediction_id`, or by `image_sha256` if that is blank or unknown. Rows without a label
    are left out and are no problem.

    Args:
        paths: Tables with a header, as spreadsheets save them; columns `label`, and `prediction_id` or
            `image_sha256`, optionally `diagnosis` and `labelled_at`.
        rows: All `records.Records.rows`.

    Raises:
        DataError: A file is missing, is no table or lacks a column.
    """
    answers = answered(rows)
    given = pd.concat([_empty(), *(_read(path) for path in paths)], ignore_index=True)
    given = given[given[LABEL].notna()]
    offenders: dict[str, list[str]] = {}

    def leave_out(problem: str, is_bad: pd.Series) -> None:
        nonlocal given
        if is_bad.any():
            offenders[problem] = given.loc[is_bad, "row"].tolist()
            given = given[~is_bad]

    given = given.assign(label=given[LABEL].str.lower().map(VALUES))
    leave_out(UNKNOWN_WORD, given[LABEL].isna())
    image_of = answers.drop_duplicates("prediction_id").set_index("prediction_id")["image_sha256"]
    by_prediction = given["prediction_id"].map(image_of)
    by_bytes = given["image_sha256"].where(given["image_sha256"].isin(answers["image_sha256"]))
    given = given.assign(image=by_prediction.fillna(by_bytes))
    is_other = (
        by_prediction.notna() & given["image_sha256"].notna() & (by_prediction != given["image_sha256"])
    )
    leave_out(OTHER_IMAGE, is_other)
    leave_out(UNKNOWN_IMAGE, given["image"].isna())
    time = pd.to_datetime(given["labelled_at"], utc=True, errors="coerce", format="ISO8601")
    given = given.assign(time=time)
    leave_out(UNREADABLE_DATE, given["labelled_at"].notna() & given["time"].isna())
    first = answers.groupby("image_sha256")["time"].min()
    answered_at = first.reindex(given["image"]).set_axis(given.index)
    has_zone = given["labelled_at"].str.contains(ZONE).fillna(False).astype(bool)
    slack = pd.to_timedelta((~has_zone).astype(int), unit="D")  # a local date may be a day behind UTC
    leave_out(BEFORE_ANSWER, given["time"].dt.floor("D") + slack < answered_at.dt.floor("D"))
    leave_out(DISAGREE, given.groupby("image")[LABEL].transform("nunique") > 1)
    images = given.drop_duplicates("image")[["image", LABEL, "diagnosis", "time"]]
    images = images.rename(columns={"image": "image_sha256", "time": "labelled_at"})
    return Labels(answers[list(IDS)].merge(images, on="image_sha256"), offenders)


def metadata_for_fetch(labels: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Labelled images as metadata that `python -m pipelines.fetch clinic` reads, one row per image.

    Args:
        labels: `Labels.rows`.
        rows: `records.Records.rows`.

    Returns:
        Columns `image_sha256`, `isic_id` (the posted `image_id` as a name of a file; the SHA-256 if there is
        none or another image has it), `diagnosis`, `benign_malignant` (as the diagnosis says; without a known
        one as the label says) and `patient_id` (the group key, which keeps a group in one split).
    """
    images = labels.drop_duplicates("image_sha256").merge(
        answered(rows)[["prediction_id", "image_id", "group_key"]], on="prediction_id"
    )
    classes = known_classes(images["diagnosis"])
    is_malignant = classes.isin(MALIGNANT_CLASSES).where(classes.notna(), images[LABEL] == 1).astype(bool)
    names = images["image_id"].map(files.plain_name, na_action="ignore")
    return pd.DataFrame(
        {
            "image_sha256": images["image_sha256"],
            "isic_id": names.mask(names.duplicated(keep=False)).fillna(images["image_sha256"]),
            "diagnosis": images["diagnosis"],
            "benign_malignant": is_malignant.map({True: MALIGNANT_LESION, False: BENIGN_LESION}),
            "patient_id": images["group_key"],
        }
    )


def _read(path: Path) -> pd.DataFrame:
    table = read_table(path, COLUMNS).rows
    if LABEL not in table or not set(IDS) & set(table.columns):
        raise DataError(
            f"{path} holds no labels: it needs the columns {LABEL} and {' or '.join(IDS)}, and has "
            f"{sorted(table.columns)}. Fill in the CSV that `python -m pipelines.queue` wrote."
        )
    named = [f"{path.name}:{number}" for number in table.index]
    return table.reindex(columns=list(COLUMNS)).astype("str").assign(row=named)


def _empty() -> pd.DataFrame:
    return pd.DataFrame({name: pd.Series(dtype="str") for name in (*COLUMNS, "row")})
