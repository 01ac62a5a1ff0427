"""Downloads a selection of the ISIC Archive for `data/raw/isic/`.

Finished files stay in a staging folder beside the raw folder until that is written, so an interrupted call
resumes. Intact images of the raw folder are not downloaded again.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pandas as pd

from melanoma.config.data import Fetch
from melanoma.data.sources import isic, isic_api
from melanoma.data.sources.connection import Connection
from melanoma.data.sources.downloads import MANIFEST_NAME, Downloads, StoredFile, download_all
from melanoma.data.sources.isic_api import Findings, Selection
from melanoma.data.sources.raw_folder import RawDataset, join_files, read_metadata, require_replaceable
from melanoma.errors import DataError, first_offenders
from melanoma.files import write_csv


@contextmanager
def open_archive(
    selection: Selection, out: Path, *, settings: Fetch, is_partial: bool
) -> Iterator[RawDataset]:
    """Download the images of `selection` for a block that writes them to `out`.

    Args:
        selection: Which images to download.
        out: Raw folder; intact images in it are not downloaded again.
        settings: Section `fetch` of params.yaml.
        is_partial: Run the block even if images are missing.

    Raises:
        DataError: `out` must not be replaced, the search fails or finds nothing, or images are missing. The
            last is raised before the block, or after it if `is_partial`.
    """
    require_replaceable(out)  # before hours of downloads
    connection = Connection(settings)
    findings = isic_api.find_images(connection, selection)
    _drop_unreadable(findings)
    if not findings.images:
        raise DataError(
            f"No image of {settings.api_url} matches the options. {_describe_findings(findings)}."
        )
    staging = out.parent / f".{out.name}.fetch"
    downloads = download_all(
        [isic_api.remote_file(image) for image in findings.images.values()],
        staging,
        connection=connection,
        known=_files_of(out),
        renew=partial(isic_api.renew, connection),
    )
    complaint = _complaint(findings, downloads, staging)
    if complaint and not is_partial:
        raise DataError(
            f"{complaint} {out} was not changed. The {len(downloads.files)} downloaded images are kept: run "
            "the same command again to resume, or add --partial to write only these."
        )
    yield _dataset(findings, downloads, settings.api_url)
    _clear(staging, keeps_failures=bool(complaint))
    if complaint:
        raise DataError(f"{complaint} {out} was written without them.")


def _drop_unreadable(findings: Findings) -> None:
    """Count images whose record cannot be translated as failures, so that they are not downloaded."""
    for cell in isic.unreadable(isic_api.tabulate(findings)):
        findings.images.pop(cell.image_id, None)
        findings.failures[cell.image_id] = (
            f"{cell.column} {cell.cell!r} cannot be read, expected {cell.expected}"
        )


def _dataset(findings: Findings, downloads: Downloads, source: str) -> RawDataset:
    table = isic_api.tabulate(findings)
    sha256 = {image_id: file.sha256 for image_id, file in downloads.files.items()}
    dataset = join_files(
        table.assign(file_sha256=table["image_id"].map(sha256).astype("string")),
        images={image_id: file.path for image_id, file in downloads.files.items()},
        masks={},
        source=source,
        is_partial=True,  # what is missing was refused or accepted before
    )
    remarks = [_describe_findings(findings), f"{downloads.num_new} newly downloaded"]
    remarks += isic.describe_image_types(dataset.metadata)
    return replace(dataset, remarks="; ".join(remarks))


def _describe_findings(findings: Findings) -> str:
    left_out = [f"{count} {reason}" for reason, count in sorted(findings.left_out.items())]
    if findings.failures:
        left_out.append(f"{len(findings.failures)} with unusable records")
    return f"{len(findings.collections)} found, left out: {', '.join(left_out) or 'none'}"


def _complaint(findings: Findings, downloads: Downloads, staging: Path) -> str:
    """What is missing and why, blank if nothing is; the staging folder gets a table of it."""
    failures = {**findings.failures, **downloads.failures}
    reasons = pd.DataFrame({"isic_id": list(failures), "reason": list(failures.values())})
    write_csv(reasons.sort_values("isic_id"), staging / "failures.csv")
    num_missing = len(failures) + findings.num_unlisted
    if not num_missing:
        return ""
    named = first_offenders(f"{isic_id} ({reason})" for isic_id, reason in sorted(failures.items()))
    return (
        f"{num_missing} of {len(findings.images) + len(findings.failures) + findings.num_unlisted} images "
        "are missing"
        + (f": {named}. The full list is in {staging / 'failures.csv'}." if failures else ".")
        + (
            f" The archive counts {findings.num_unlisted} images that are on none of its pages; they may "
            "have changed while they were read."
            if findings.num_unlisted
            else ""
        )
    )


def _files_of(out: Path) -> dict[str, StoredFile]:
    """The images of an earlier download by image_id; none if its table cannot be read."""
    try:
        table = read_metadata(out)
    except DataError:
        return {}
    if "file_sha256" not in table:
        return {}
    known = table[["image_id", "image_file", "file_sha256"]].dropna()
    return {
        image_id: StoredFile(out / "images" / Path(name).name, sha256)
        for image_id, name, sha256 in known.itertuples(index=False)
    }


def _clear(staging: Path, *, keeps_failures: bool) -> None:
    if not keeps_failures:
        shutil.rmtree(staging)
        return
    shutil.rmtree(staging / "images")
    (staging / MANIFEST_NAME).unlink()
