"""Stage `promote`: register the selected model and let it take the alias `staging` if it earns it.

Run by `dvc repro promote`. Reads params.yaml section `promote`. A refusal is a result: its reasons are
written, the aliases stay, the exit code is 0.
"""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from melanoma import config, files, schema, tracking
from melanoma.data import packed, splits
from melanoma.evaluation import gate
from melanoma.registry import versions
from pipelines import _champion, _cli


def main(argv: Sequence[str] | None = None) -> int:
    """Write the verdict."""
    parser = _cli.parser(__doc__)
    parser.add_argument("--cohort", required=True)
    parser.add_argument("--packed", type=Path, required=True)
    for name in schema.MODEL_NAMES:
        parser.add_argument(f"--{name}", type=Path, required=True, help="model folder")
    parser.add_argument("--models", type=Path, required=True, help="JSON of model URIs")
    parser.add_argument("--predictions", type=Path, required=True)
    parser.add_argument("--assigned", type=Path, required=True, help="groups of all images")
    parser.add_argument("--out", type=Path, required=True, help="JSON verdict to write")
    args = parser.parse_args(argv)

    rules = config.load(args.params).promote
    data = packed.open_packed(args.packed)
    models = files.read_json(args.models)
    selected = models["selected"]
    challenger = models[selected]
    run = tracking.resume_run(challenger["run_id"])
    digest = files.sha256_of_file(getattr(args, selected) / "model.onnx")

    name = f"melanoma-{args.cohort}"
    version = versions.register(
        name,
        challenger["model_uri"],
        tags={
            versions.DIGEST_TAG: f"{digest[:16]}@{challenger['threshold']:.6f}",
            "cohort": args.cohort,
            "model": selected,
            "data_digest": data.digest,
            "is_synthetic": str(data.is_synthetic).lower(),
            "run_id": run.run_id,
        },
    )
    versions.set_alias(name, versions.CHALLENGER, version.version)
    champion = versions.find_version(name, versions.STAGING)
    with tempfile.TemporaryDirectory(prefix="champion-") as folder:
        contest = _champion.prepare_contest(
            data,
            files.read_csv(args.predictions, dtype={"image_id": "string"}),
            selected,
            champion=champion,
            assigned=splits.read_assigned(args.assigned),
            folder=Path(folder),
        )
    verdict = gate.judge(contest, rules)
    is_passed = verdict.pop("is_passed")
    previous = versions.predecessor(version, champion)
    versions.note_verdict(version, run, verdict["reasons"], previous=previous)
    if is_passed:
        versions.set_alias(name, versions.STAGING, version.version)
    holder = versions.find_version(name, versions.STAGING)
    summary = {
        "registered_model": name,
        "version": int(version.version),
        "model": selected,
        "is_promoted": is_passed,
        "previous_version": previous,
        "staging_version": int(holder.version) if holder else None,
        "is_synthetic": data.is_synthetic,
        **verdict,
    }
    files.write_json(summary, args.out)
    _cli.say(f"promote@{args.cohort}", _headline(summary))
    return 0


def _headline(summary: dict[str, Any]) -> str:
    what = f"{summary['registered_model']} version {summary['version']} ({summary['model']})"
    if summary["is_promoted"]:
        return f"{what} holds the alias staging"
    staging = summary["staging_version"]
    held = "no version holds" if staging is None else f"version {staging} holds"
    return f"{what} refused: {'; '.join(summary['reasons'])}; {held} the alias staging"


if __name__ == "__main__":
    sys.exit(_cli.run(main))
