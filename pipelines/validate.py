"""Stage `validate`: check records and facts of one dataset; quarantine bad rows, stop on bad tables.

Run by `dvc repro validate`. Reads params.yaml section `validate`.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from melanoma import config, files, lineage, tracking
from melanoma.data.checks import contact_sheet, validation
from pipelines import _cli


def main(argv: Sequence[str] | None = None) -> int:
    """Write report, Data Docs, contact sheet, accepted and quarantined rows, and log them as a run."""
    parser = _cli.parser(__doc__)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--records", type=Path, required=True)
    parser.add_argument("--facts", type=Path, required=True)
    parser.add_argument("--accepted", type=Path, required=True, help="rows that passed, to write")
    parser.add_argument("--quarantine", type=Path, required=True, help="rows that left, to write")
    parser.add_argument("--report", type=Path, required=True, help="JSON report to write")
    parser.add_argument("--docs", type=Path, required=True, help="Data Docs folder to write")
    parser.add_argument("--sheet", type=Path, required=True, help="contact sheet of what left, to write")
    args = parser.parse_args(argv)

    limits = config.load(args.params).checks
    records, facts = files.read_parquet(args.records), files.read_parquet(args.facts)
    with tracking.open_run(
        experiment="melanoma-data",
        name=f"validate-{args.dataset}",
        tags={"dataset": args.dataset, "stage": "validate"} | lineage.lineage_tags(),
        params=limits.model_dump(exclude={"excluded_ids"}),  # may be longer than the store allows
    ) as run:
        with tempfile.TemporaryDirectory(prefix="validate-") as folder:
            result = validation.validate(records, facts, limits, dataset=args.dataset, folder=folder)
            files.copy_folder(result.docs, args.docs)
        files.write_json(result.report | {"run_id": run.run_id}, args.report)
        files.write_csv(result.quarantined, args.quarantine)
        _save_sheet(result, args.dataset, args.sheet)
        _log(result, args, run)
        _cli.say(f"validate@{args.dataset}", f"{validation.headline(result.report)} -> {args.report}")
        validation.require_passed(result, args.report)
        files.write_parquet(result.accepted, args.accepted)
    return 0


def _save_sheet(result: validation.Validation, dataset: str, path: Path) -> None:
    sheet = contact_sheet.draw(
        result.quarantined,
        root=Path(),
        title=f"Quarantined images of {dataset}",
        note=result.report["note"],
    )
    with files.atomic_file(path) as unfinished:
        sheet.save(unfinished, format="PNG")


def _log(result: validation.Validation, args: argparse.Namespace, run: tracking.Run) -> None:
    run.set_tags({"is_synthetic": str(result.report["is_synthetic"]).lower()})
    run.log_metrics(validation.metrics(result.report))
    for path in (args.report, args.quarantine, args.sheet):
        run.log_file(path)
    run.log_folder(args.docs, "data_docs")


if __name__ == "__main__":
    sys.exit(_cli.run(main))
