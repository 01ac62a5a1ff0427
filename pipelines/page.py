"""Stage `page`: write all results to one HTML file that needs no network.

Run by `dvc repro page`. Reads params.yaml sections `page`, `run`, `cohorts` and `ingest`.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from melanoma import config, files, lineage, tracking
from melanoma.page.render import MEGABYTE, render
from melanoma.stages import page, presentation
from pipelines import _cli

EXPERIMENT = "melanoma-reports"


def main(argv: Sequence[str] | None = None) -> int:
    """Write the page, attach it to a run of its own, and present the experiments in MLflow."""
    parser = _cli.parser(__doc__)
    parser.add_argument("--graph", type=Path, required=True, help="dvc.yaml")
    parser.add_argument("--headlines", type=Path, required=True, help="folder with one JSON file per cohort")
    parser.add_argument("--cards", type=Path, required=True, help="folder with the data cards")
    parser.add_argument("--study", type=Path, help="results of the study (optional)")
    parser.add_argument("--out", type=Path, required=True, help="HTML file to write")
    args = parser.parse_args(argv)

    params = config.load(args.params)
    contents = page.gather(
        params, graph=args.graph, headlines=args.headlines, cards=args.cards, study=args.study
    )
    files.write_text(render(contents, max_megabytes=params.page.max_megabytes), args.out)
    cohorts = ", ".join(found["cohort"] for found in contents.headlines) or "no cohort"
    tags = {"stage": "page", "cohorts": cohorts, **lineage.lineage_tags()}
    note = f"Report page with the results of {cohorts}, as the artifact {args.out.name}."
    name = f"page of {cohorts}"
    with tracking.open_run(experiment=EXPERIMENT, name=name, tags=tags, note=note) as run:
        run.log_file(args.out)
    presentation.present_experiments()
    size = args.out.stat().st_size / MEGABYTE
    _cli.say("page", f"{cohorts}: {size:.2f} MB, {len(contents.missing)} files missing -> {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(_cli.run(main))
