"""Stage `promote`: register the selected model and let it take the alias `staging` if it earns it.

Run by `dvc repro promote`. Reads params.yaml section `promote`. A refusal is a result: its reasons are
written, the aliases stay, the exit code is 0.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from melanoma import config, files
from melanoma.data import packed, tables
from melanoma.data.groups import splits
from melanoma.evaluation import headline
from melanoma.stages import model_card, promote
from pipelines import _cli


def main(argv: Sequence[str] | None = None) -> int:
    """Write the verdict."""
    parser = _cli.parser(__doc__)
    parser.add_argument("--cohort", required=True)
    parser.add_argument("--packed", type=Path, required=True)
    parser.add_argument("--models", type=Path, required=True, help="JSON of model URIs")
    parser.add_argument("--predictions", type=Path, required=True)
    parser.add_argument("--metrics", type=Path, required=True)
    parser.add_argument("--slices", type=Path, required=True)
    parser.add_argument("--audit", type=Path, required=True)
    parser.add_argument("--references", type=Path, required=True, help="scores of the references")
    parser.add_argument("--assigned", type=Path, required=True, help="groups of all images")
    parser.add_argument("--accepted", type=Path, required=True, help="folder, a table a dataset")
    parser.add_argument("--split", type=Path, required=True, help="JSON of the cohort's splits")
    parser.add_argument("--seeds", type=Path, required=True, help="comparison of the models over seeds")
    parser.add_argument("--tuning", type=Path, required=True, help="summary of the search")
    parser.add_argument("--out", type=Path, required=True, help="JSON verdict to write")
    parser.add_argument("--card", type=Path, required=True, help="model card to write")
    parser.add_argument("--headline", type=Path, required=True, help="JSON of what the cohort came to")
    args = parser.parse_args(argv)

    params = config.load(args.params)
    candidate = _open_candidate(args, params)
    summary = promote.promote(candidate, params.promote)
    summary["audit_warnings"] = files.read_json(args.audit)["warnings"]
    files.write_text(model_card.write(args, params, candidate, summary), args.card)
    model_card.attach(args.card, summary, run_id=candidate.entry["run_id"])
    files.write_json(_gather_headline(args, candidate, summary), args.headline)
    files.write_json(summary, args.out)
    _cli.say(f"promote@{args.cohort}", _in_words(summary))
    return 0


def _open_candidate(args: argparse.Namespace, params: config.Params) -> promote.Candidate:
    models = files.read_json(args.models)
    model, data = models["selected"], packed.open_packed(args.packed)
    return promote.Candidate(
        cohort=args.cohort,
        model=model,
        entry=models[model],
        metrics=files.read_json(args.metrics)[model],
        data=data,
        predictions=tables.read_predictions(args.predictions, data.index),
        references=tables.read_references(args.references, data.index),
        slices=files.read_json(args.slices)[model],
        assigned=splits.read_assigned(args.assigned),
        accepted=tables.read_tables(args.accepted, params.members(args.cohort), tables.ACCEPTED_COLUMNS),
        num_bins=params.evaluate.num_calibration_bins,
    )


def _gather_headline(
    args: argparse.Namespace, candidate: promote.Candidate, summary: dict[str, Any]
) -> dict[str, Any]:
    return headline.gather(
        metrics=files.read_json(args.metrics),
        models=files.read_json(args.models),
        predictions=candidate.predictions,
        audit=files.read_json(args.audit),
        comparison=files.read_json(args.seeds),
        promotion=summary,
    )


def _in_words(summary: dict[str, Any]) -> str:
    what = f"{summary['registered_model']} version {summary['version']} ({summary['model']})"
    if summary["is_promoted"]:
        return f"{what} holds the alias staging"
    staging = summary["staging_version"]
    if staging == summary["version"]:
        return (
            f"{what} passes the gates no longer: {'; '.join(summary['reasons'])}. It holds the alias staging "
            "from before; `python -m pipelines.rollback` with --alias staging puts its predecessor back"
        )
    held = "no version holds" if staging is None else f"version {staging} holds"
    return f"{what} refused: {'; '.join(summary['reasons'])}; {held} the alias staging"


if __name__ == "__main__":
    sys.exit(_cli.run(main))
