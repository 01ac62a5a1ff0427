"""Stage `compare`: the published tables beside ours under both protocols, in pictures and plain words.

Run by `dvc repro compare`; takes whatever cohorts the stage `study` has results of. Reads params.yaml section
`compare`.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from melanoma import config, files
from melanoma.study import words as study_words
from melanoma.study.stages import compare
from pipelines import _cli


def main(argv: Sequence[str] | None = None) -> int:
    """Write tables (CSV), pictures (PNG), their captions and `page.md` to one folder."""
    parser = _cli.parser(__doc__)
    parser.add_argument("--results", type=Path, required=True, help="folder of the result files")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    args = parser.parse_args(argv)

    settings = config.load(args.params).study.compare
    checked = compare.read_published(args.results)
    results = compare.read_results(args.results, checked)
    with files.atomic_folder(args.out) as folder:
        captions = compare.write_tables(checked, results, folder)
        captions |= compare.write_pictures(checked, results, args.results, folder, settings)
        files.write_text(study_words.page(checked, results), folder / "page.md")
        files.write_json(captions, folder / "captions.json")
    studied = ", ".join(results) or "no cohort yet, only the published figures"
    _cli.say("compare", f"{studied}: {len(captions)} tables and pictures -> {args.out}/page.md")
    return 0


if __name__ == "__main__":
    sys.exit(_cli.run(main))
