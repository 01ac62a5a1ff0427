"""Draw the groups that an audit verifies, each with a known probability, independently of all others.

A group is a patient or lesion (`group_key`); an image without one is a group of its own (`image_sha256`).
It is drawn once for each model, for the answers of its first day (UTC), six hours after that day. It is
drawn with the probability `audit_fraction`, or `audit_fraction_near` if one of these answers is just below
the threshold, where missed lesions lie. The draw compares that probability with a number that only a secret
and the group determine. So whoever has the secret can repeat it, and whoever posts images cannot steer it.

A draw is written to `draws/` beside the answers and never changed by later answers, labels or parameters.
"""

import hashlib
import hmac
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path

import pandas as pd

from melanoma import files
from melanoma.errors import DataError
from melanoma.monitoring.records import without_erased

DRAWS = "draws"
COLUMNS = (
    "model_name",
    "group",
    "time",
    "prediction_id",
    "model_version",
    "probability_drawn",
    "is_drawn",
)
WHO = ["model_name", "group"]  # who is drawn
HOURS_LATE = 6  # after the end of a day until its answers are drawn: servers upload theirs meanwhile
NUM_BITS = 53  # a float holds so many


def answered(rows: pd.DataFrame) -> pd.DataFrame:
    """The answers among records, with the column `group`; refused rows are no answers.

    Args:
        rows: `records.Records.rows`.
    """
    answers = rows[rows["refusal"].isna()]
    return answers.assign(
        group=answers["group_key"].fillna(answers["image_sha256"]),
        model_name=answers["model_name"].fillna(""),
    )


def draw(
    rows: pd.DataFrame,
    known: pd.DataFrame,
    *,
    key: bytes,
    audit_fraction: float,
    audit_fraction_near: float,
    near_factor: float,
    now: datetime,
) -> pd.DataFrame:
    """Draw the groups that have no draw yet and whose first day is over.

    Args:
        rows: All `records.Records.rows`, not those of a period: the first day of a group must be among them.
        known: Earlier draws, see `read`.
        key: Secret that decides about the draws.
        audit_fraction: Probability of a draw, in (0, 1].
        audit_fraction_near: That of groups with an answer just below the threshold.
        near_factor: Just below the threshold: from `near_factor * threshold` on.
        now: Time, with a time zone.

    Returns:
        New draws, a row for each answer of a group's first day, with the columns `COLUMNS`. `time` is the day
        (UTC, midnight). `probability_drawn` and `is_drawn` are equal in all rows of a group.
    """
    answers = answered(rows)
    answers = answers.assign(time=answers["time"].dt.floor("D"))
    is_known = pd.MultiIndex.from_frame(answers[WHO]).isin(pd.MultiIndex.from_frame(known[WHO]))
    first_day = answers.groupby(WHO)["time"].transform("min")
    today = (pd.Timestamp(now) - pd.Timedelta(hours=HOURS_LATE)).tz_convert(UTC).floor("D")
    is_over = answers["time"] < today
    new = answers[(answers["time"] == first_day) & is_over & ~is_known]
    is_near = (new["probability"] < new["threshold"]) & (new["probability"] >= near_factor * new["threshold"])
    is_near_group = is_near.groupby([new[name] for name in WHO]).transform("any").astype(bool)
    probability = is_near_group.map({True: audit_fraction_near, False: audit_fraction}).astype(float)
    number = new["group"].map(lambda group: number_of(group, key)).astype(float)
    new = new.assign(probability_drawn=probability, is_drawn=number < probability)
    return new.sort_values(["time", *WHO, "prediction_id"])[list(COLUMNS)].reset_index(drop=True)


def number_of(group: str, key: bytes) -> float:
    """A number in [0, 1) that looks uniform and independent between groups without the key."""
    digest = hmac.new(key, f"audit {group}".encode(), hashlib.sha256).digest()
    return (int.from_bytes(digest) >> (8 * len(digest) - NUM_BITS)) / 2**NUM_BITS


def write(draws: pd.DataFrame, folder: Path, now: datetime) -> Path:
    """Write new draws as a file of their own; returns its path.

    Args:
        draws: Result of `draw`, not empty.
        folder: Folder of the compacted records.
        now: Time of the draw, with a time zone.
    """
    ids = "\n".join(draws["prediction_id"])
    digest = hashlib.sha256(ids.encode()).hexdigest()[:8]
    path = folder / DRAWS / f"{now.astimezone(UTC):%Y%m%dT%H%M%S.%f}-{digest}.parquet"
    files.write_parquet(draws, path)
    return path


def read(folder: Path) -> pd.DataFrame:
    """All draws, columns `COLUMNS`, in order of time, without those of erased groups.

    Args:
        folder: Folder of the compacted records.

    Raises:
        DataError: A file is not one of draws.
    """
    tables = [_read(path).assign(file=number) for number, path in enumerate(_paths(folder))]
    draws = pd.concat([_empty(), *tables], ignore_index=True) if tables else _empty()
    # Two commands at the same time may have drawn a group twice: the first draw counts.
    draws = draws[draws["file"] == draws.groupby(WHO)["file"].transform("min")]
    draws = _without_erased(draws, folder).drop(columns="file")
    return draws.sort_values(["time", *WHO, "prediction_id"], ignore_index=True)


def erase(folder: Path) -> None:
    """Remove the draws of all groups that `records.erase` has named."""
    for path in _paths(folder):
        draws = _read(path)
        _replace(path, draws, _without_erased(draws, folder))


def expire(folder: Path, before: date, rows: pd.DataFrame) -> None:
    """Remove the draws of days before a date, except those of groups that still have an answer.

    Args:
        folder: Folder of the compacted records.
        before: First day whose draws stay.
        rows: All `records.Records.rows` that are left.
    """
    left = pd.MultiIndex.from_frame(answered(rows)[WHO])
    for path in _paths(folder):
        draws = _read(path)
        is_kept = (draws["time"].dt.date >= before) | pd.MultiIndex.from_frame(draws[WHO]).isin(left)
        _replace(path, draws, draws[is_kept])


def sensitivity_answers(
    rows: pd.DataFrame, draws: pd.DataFrame, labels: pd.DataFrame, *, model_name: str
) -> pd.DataFrame:
    """What `sensitivity.measure` takes: the answers of each group's first day, with draw and label.

    A group without a draw yet, and later answers of a group, are left out. To measure since a declared start,
    give the draws whose `time` is not before it.

    Args:
        rows: `records.Records.rows`.
        draws: Result of `read`.
        labels: `labels.Labels.rows`, or an empty frame with its columns `prediction_id` and `label`.
        model_name: Registered model; blank for answers of a model without a registry.

    Returns:
        One row per answer, columns `sensitivity.COLUMNS`; `is_caught` is whether the probability reached the
        threshold.
    """
    answers = answered(rows)
    answers = answers[answers["model_name"] == model_name]
    mine = draws.loc[draws["model_name"] == model_name, ["prediction_id", "probability_drawn", "is_drawn"]]
    found = answers.merge(mine, on="prediction_id", validate="1:1")
    given = labels[["prediction_id", "label"]].astype({"prediction_id": "str"})
    found = found.merge(given, on="prediction_id", how="left", validate="1:1")
    return pd.DataFrame(
        {
            "prediction_id": found["prediction_id"],
            "group_id": found["group"],
            "time": found["time"].dt.floor("D"),
            "probability_drawn": found["probability_drawn"].astype(float),
            "is_drawn": found["is_drawn"].astype(bool),
            "label": found["label"].astype(float),
            "is_caught": found["probability"] >= found["threshold"],
        }
    )


def _without_erased(draws: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """The draws but those of groups that were erased after the day of the draw."""
    day_is_over = draws.assign(day=draws["time"], time=draws["time"] + pd.Timedelta(days=1))
    left = without_erased(day_is_over, folder, name="group")
    return left.assign(time=left["day"])[list(draws.columns)]


def _paths(folder: Path) -> Sequence[Path]:
    return sorted(folder.glob(f"{DRAWS}/[!.]*.parquet"))


def _read(path: Path) -> pd.DataFrame:
    draws = files.read_parquet(path)
    missing = [name for name in COLUMNS if name not in draws]
    if missing:
        raise DataError(f"{path} holds no draws of an audit: it has no columns {missing}. Move it elsewhere.")
    return draws.assign(time=draws["time"].dt.tz_convert(UTC))  # see `records`


def _replace(path: Path, before: pd.DataFrame, after: pd.DataFrame) -> None:
    if after.empty:
        path.unlink()
    elif len(after) < len(before):
        files.write_parquet(after, path)


def _empty() -> pd.DataFrame:
    texts = dict.fromkeys(("model_name", "group", "prediction_id", "model_version"), "str")
    types = texts | {"time": "datetime64[us, UTC]", "probability_drawn": "float64", "is_drawn": "bool"}
    return pd.DataFrame({name: pd.Series(dtype=types[name]) for name in COLUMNS}).assign(
        file=pd.Series(dtype="int64")
    )
