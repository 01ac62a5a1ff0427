"""Checks the records and facts of a dataset and logs the verdict as a run."""

import tempfile
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from melanoma import files, fingerprint, lineage, schema, tracking, tracking_fields
from melanoma.config.data import Validate
from melanoma.data.checks import contact_sheet, validation
from melanoma.stages.console import say


def validate(args: Namespace, limits: Validate, *, positive: Sequence[str]) -> None:
    """Write report, Data Docs, contact sheet, accepted and quarantined rows; log them to a run.

    Args:
        args: Dataset name and paths, by the options of `pipelines/validate.py`.
        limits: Section `validate` of params.yaml.
        positive: Positive classes.

    Raises:
        DataError: A critical check failed. Everything but the accepted rows is written then, and the result
            is printed.
    """
    records, facts = files.read_parquet(args.records), files.read_parquet(args.facts)
    with tracking.open_run(
        experiment="melanoma-data",
        name=f"validate-{args.dataset}",
        note=f"Checks of dataset {args.dataset}: how many images are accepted, and why others are not.",
        tags={"dataset": args.dataset, "stage": "validate"} | lineage.lineage_tags(),
        params=limits.model_dump(exclude={"excluded_ids"}),  # may be longer than the store allows
    ) as run:
        with tempfile.TemporaryDirectory(prefix="validate-") as folder:
            result = validation.validate(
                records,
                facts,
                limits,
                dataset=args.dataset,
                positive_means=schema.positive_means(positive),
                folder=folder,
            )
            files.copy_folder(result.docs, args.docs)
        files.write_json(result.report | {"run_id": run.run_id}, args.report)
        files.write_csv(result.quarantined, args.quarantine)
        _draw_sheet(result, args.dataset, args.sheet)
        run.log_datasets([_dataset(args, records)])
        run.set_tags(
            {
                "is_synthetic": str(result.report["is_synthetic"]).lower(),
                "positive_means": result.report["positive_means"],
            }
        )
        run.log_metrics(validation.metrics(result.report))
        for path in (args.report, args.quarantine, args.sheet):
            run.log_file(path)
        run.log_folder(args.docs, "data_docs")
        say(f"validate@{args.dataset}", f"{validation.summary_line(result.report)} -> {args.report}")
        validation.require_passed(result, args.report)
        files.write_parquet(result.accepted, args.accepted)


def _dataset(args: Namespace, records: pd.DataFrame) -> tracking_fields.Dataset:
    """The checked images; the digest is that of the file of records."""
    return tracking_fields.Dataset(
        name=args.dataset,
        digest=fingerprint.sha256_of_file(args.records),
        context="checks",
        num_images=len(records),
        num_malignant=int((records["target"] == schema.POSITIVE).sum()),
    )


def _draw_sheet(result: validation.Validation, dataset: str, path: Path) -> None:
    sheet = contact_sheet.draw(
        result.quarantined,
        root=Path(),
        title=f"Quarantined images of {dataset}",
        note=result.report["note"],
    )
    with files.atomic_file(path) as unfinished:
        sheet.save(unfinished, format="PNG")
