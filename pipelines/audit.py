"""Stage `audit`: does the selected network look at the lesion, and does it beat what never sees its form?

Run by `dvc repro audit`. Reads params.yaml section `audit`. Warnings stop nothing; a gate of `promote` does.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from melanoma import config, files, schema, tracking
from melanoma.data import packed
from melanoma.evaluation import audit, bootstrap
from melanoma.stages import audit as stage
from melanoma.stages import looks_at_test
from pipelines import _cli


def main(argv: Sequence[str] | None = None) -> int:
    """Write what was found, the scores of the references and pictures; add them to the model's run."""
    parser = _cli.parser(__doc__)
    parser.add_argument("--cohort", required=True)
    parser.add_argument("--packed", type=Path, required=True)
    parser.add_argument("--accepted", type=Path, required=True, help="folder, a table a dataset")
    parser.add_argument("--facts", type=Path, required=True, help="folder, a table a dataset")
    for name in schema.MODEL_NAMES:
        parser.add_argument(f"--{name}", type=Path, required=True, help="model folder")
    parser.add_argument("--boxes", type=Path, required=True, help="table, read where images were cut")
    parser.add_argument("--models", type=Path, required=True, help="JSON of operating points")
    parser.add_argument("--out", type=Path, required=True, help="JSON to write")
    parser.add_argument("--references", type=Path, required=True, help="CSV to write")
    parser.add_argument("--figures", type=Path, required=True, help="folder to write")
    args = parser.parse_args(argv)

    params = config.load(args.params)
    data = packed.open_packed(args.packed)
    models = files.read_json(args.models)
    described = stage.describe(args, params, data)
    references = stage.score_references(data, described, params.audit)
    audited = stage.open_audited(args, models, data, described)
    found = stage.measure(audited, references, params.audit)
    head = {"cohort": args.cohort, "is_synthetic": data.is_synthetic, "selected": models["selected"]}
    figures = stage.pictures(audited, found, params.audit, cohort=args.cohort, data=data)
    entry = models[models["selected"]]
    run = tracking.resume_run(entry["run_id"])  # refused before anything is written, the ledger included
    looks_at_test.record(f"melanoma-{args.cohort}", data, entry, purpose="audit")
    with files.atomic_folder(args.figures) as folder:
        for name, figure in figures.items():
            figure.savefig(folder / name, dpi=110)
    files.write_csv(references, args.references)
    files.write_json(head | found, args.out)
    stage.log(run, args, found)
    plain = bootstrap.in_words(found["variants"][audit.PLAIN]["auc_roc"])
    colour = bootstrap.in_words(found["references"]["colour"]["auc_roc"])
    num = len(found["warnings"])
    _cli.say(
        f"audit@{args.cohort}", f"AUC {plain}, from colours alone {colour}; {num} warnings -> {args.out}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(_cli.run(main))
