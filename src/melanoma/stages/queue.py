"""Body of the command `queue`: draw the audit, and write what a reader should label next."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from melanoma import files, fingerprint
from melanoma.config.monitoring import Queue
from melanoma.data.signatures import format_of
from melanoma.data.sources.source_tables import read_table
from melanoma.errors import DataError, first_offenders
from melanoma.monitoring import audit_draws, queue
from melanoma.monitoring import labels as labelling
from melanoma.monitoring import records as reading
from melanoma.monitoring.labels import LABEL
from melanoma.schema import NOT_A_DEVICE
from melanoma.serving.records import key_of_groups
from melanoma.stages import records

TO_FILL_IN = (LABEL, "diagnosis", "labelled_at")
IMAGES_A_HEADING = 16  # `contact_sheet.MAX_TILES`


@dataclass(frozen=True)
class Wanted:
    """What the queue is made of.

    Attributes:
        place: Folder or `s3://bucket/folder` of the records.
        model: Registered model; None if the records are of one model only.
        since: First time of the images beside the audit; None for all.
        until: Time before which they lie; None for all.
        reference_until: Answers before this time are the reference of "unlike", and none of the images beside
            the audit; None uses the distance from the training images.
        labels: Label files; their images are left out.
        as_of: Time of the draw; None for now. A later time, for a replay that is over, draws today's answers.
    """

    place: str
    model: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    reference_until: datetime | None = None
    labels: Sequence[Path] = ()
    as_of: datetime | None = None


def write(wanted: Wanted, settings: Queue, out: Path, images: Path | None) -> list[str]:
    """Draw the groups whose first day is over, and write the queue, with a contact sheet if there are images.

    Args:
        wanted: What the queue is made of.
        settings: Size of the queue and probabilities of the audit.
        out: CSV file to write; the contact sheet lies beside it, as PNG.
        images: Folder of the image files, under any names; None draws no sheet.

    Returns:
        Lines that say what was done.

    Raises:
        DataError: The records, the label files or the images cannot be used, `out` holds labels, or several
            models have records and none was chosen.
        StorageError: The store cannot be reached or refuses.
        TrackingError: The environment has no key.
    """
    _require_no_labels(out)
    key = key_of_groups().encode()
    with records.opened(wanted.place) as folder:
        found = reading.read(folder, spool=records.local_spool(wanted.place))
        labels = labelling.read(wanted.labels, found.rows)
        model = _model(found.rows, wanted.model)
        paths = {} if images is None else _by_digest(images)
        draws, num_new = _draw(wanted, folder, found.rows, settings, key)
    mine = audit_draws.answered(found.rows)
    mine = mine[mine["model_name"] == model]
    since = max((one for one in (wanted.since, wanted.reference_until) if one is not None), default=None)
    ranked = queue.rank(
        mine,
        draws[draws["model_name"] == model],
        size=settings.size,
        labelled=set(labels.rows["image_sha256"]),
        candidates=_of_period(mine, since, wanted.until),
        reference=None if wanted.reference_until is None else _of_period(mine, None, wanted.reference_until),
    )
    files.write_csv(ranked.assign(**dict.fromkeys(TO_FILL_IN)), out)
    counts = ranked["why"].value_counts(sort=False)
    lines = [
        f"{len(ranked)} images"
        + "".join(f", {number} {why}" for why, number in counts.items())
        + f"; the audit drew among {num_new} new groups: {out}",
        *labels.describe(),
        *(f"in the records: {problem}" for problem in found.describe()),
    ]
    return lines if images is None else [*lines, *_sheet(ranked, paths, images, out.with_suffix(".png"))]


def write_source(
    place: str, labels: Sequence[Path], images: Path, out: Path, *, licence: str | None = None
) -> list[str]:
    """Write labelled images as a folder that `python -m pipelines.fetch clinic --add` takes in.

    Args:
        place: Folder or `s3://bucket/folder` of the records.
        labels: Label files.
        images: Folder of the image files, under any names.
        out: Folder to write: `metadata.csv` and `images/<isic_id>`.
        licence: Licence of the images; None leaves it to `ingest.clinic.licence`.

    Returns:
        Lines that say what was done and left out.

    Raises:
        DataError: The records, the label files or the images cannot be used, or no labelled image is there.
    """
    with records.opened(place) as folder:
        rows = reading.read(folder, spool=records.local_spool(place)).rows
    given = labelling.read(labels, rows)
    table, paths = labelling.metadata_for_fetch(given.rows, rows), _by_digest(images)
    is_there = table["image_sha256"].isin(list(paths))
    missing, table = table.loc[~is_there, "isic_id"], table[is_there]
    if table.empty:
        raise DataError(
            f"None of the {len(missing)} labelled images is in {images}. They are matched by SHA-256: give "
            "the files that were posted, unchanged."
        )
    with files.atomic_folder(out) as unfinished:
        (unfinished / "images").mkdir()
        for digest, name in zip(table["image_sha256"], table["isic_id"], strict=True):
            content = paths[digest].read_bytes()
            suffix = (format_of(content) or "").lower()
            (unfinished / "images" / f"{name}.{suffix}").write_bytes(content)
        source = table.drop(columns="image_sha256").assign(copyright_license=licence)
        files.write_csv(source, unfinished / "metadata.csv")
    left_out = [f"{len(missing)} images are not in {images}: {first_offenders(missing)}"]
    return [f"{len(table)} images: {out}", *given.describe(), *(left_out if len(missing) else [])]


def _require_no_labels(out: Path) -> None:
    """Raise a `DataError` if a reader has filled in the file that would be replaced, or it is no queue."""
    if not out.exists():
        return
    table = read_table(out, labelling.COLUMNS).rows
    if LABEL not in table:
        raise DataError(
            f"{out} exists and is no queue: it has no column {LABEL}. Name another file with --out."
        )
    if table[LABEL].notna().any():
        raise DataError(
            f"{out} holds labels, which would be lost. Name another file with --out, and give this one as "
            "--labels."
        )


def _model(rows: pd.DataFrame, wanted: str | None) -> str:
    """The name of the model whose answers are queued."""
    names = sorted(audit_draws.answered(rows)["model_name"].unique())
    if wanted is not None and wanted not in names:
        raise DataError(f"No answer of the model {wanted!r} is recorded; expected one of {names}.")
    if wanted is None and len(names) > 1:
        raise DataError(f"The records have answers of several models; choose one with --model: {names}.")
    return wanted if wanted is not None else (names or [""])[0]


def _draw(
    wanted: Wanted, folder: Path, rows: pd.DataFrame, settings: Queue, key: bytes
) -> tuple[pd.DataFrame, int]:
    """All draws of the audit, and the number of groups that were new."""
    with files.exclusive_lock(folder / audit_draws.DRAWS / ".lock", f"the draws of {wanted.place}"):
        known, now = audit_draws.read(folder), wanted.as_of or datetime.now(UTC)
        probabilities = settings.model_dump(exclude={"size"})
        new = audit_draws.draw(rows, known, key=key, now=now, **probabilities)
        if len(new):
            records.add_file(wanted.place, folder, audit_draws.write(new, folder, now))
        return audit_draws.read(folder), len(new[audit_draws.WHO].drop_duplicates())


def _of_period(rows: pd.DataFrame, since: datetime | None, until: datetime | None) -> pd.DataFrame:
    is_in = pd.Series(True, index=rows.index)
    if since is not None:
        is_in &= rows["time"] >= since
    if until is not None:
        is_in &= rows["time"] < until
    return rows[is_in]


def _by_digest(folder: Path) -> dict[str, Path]:
    """The files of a folder by SHA-256."""
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder of images. Name one with --images, or leave it out.")
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    with tqdm(paths, desc="queue", unit="image", disable=None) as bar:
        return {fingerprint.sha256_of_file(path): path for path in bar}


def _sheet(ranked: pd.DataFrame, paths: dict[str, Path], folder: Path, out: Path) -> list[str]:
    """Draw the contact sheet of the images that are there, in the order of the queue."""
    from melanoma.data.checks import contact_sheet

    is_there = ranked["image_sha256"].isin(list(paths))
    shown = ranked[is_there]
    lines = []
    if not is_there.all():
        missing = ranked.loc[~is_there, "image_id"].fillna(ranked["image_sha256"])
        lines = [f"{len(missing)} images are not in {folder}: {first_offenders(missing)}"]
    if shown.empty:
        return lines
    first = (shown["rank"] - 1) // IMAGES_A_HEADING * IMAGES_A_HEADING + 1
    headings = [f"ranks {rank:04} to {rank + IMAGES_A_HEADING - 1:04}" for rank in first]
    relative = [paths[digest].relative_to(folder).as_posix() for digest in shown["image_sha256"]]
    names = shown["image_id"].fillna(shown["image_sha256"].str[:8])
    tiles = pd.DataFrame(
        {
            "image_id": [f"{rank:04} {name}" for rank, name in zip(shown["rank"], names, strict=True)],
            "path": relative,
            "reasons": [f"{heading}; {why}" for heading, why in zip(headings, shown["why"], strict=True)],
        }
    )
    sheet = contact_sheet.draw(tiles, root=folder, title="Label queue", note=NOT_A_DEVICE)
    with files.atomic_file(out) as unfinished:
        sheet.save(unfinished)
    return [*lines, f"{len(shown)} images shown: {out}"]
