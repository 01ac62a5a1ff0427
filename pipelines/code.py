"""Stage `code`: write a digest of the code and libraries of each stage.

Run by every `dvc repro`. With `--explain STAGE` it only lists the parts of that digest.
"""

import gc
import sys
from collections.abc import Sequence
from pathlib import Path

from melanoma.code_parts import CodeParts
from melanoma.errors import ConfigError
from melanoma.stages import code
from pipelines import _cli

GRAPHS = (Path("dvc.yaml"), Path("pipelines/study/dvc.yaml"))
PACKAGES = {"melanoma": Path("src/melanoma"), "pipelines": Path("pipelines")}
LOCK = Path("requirements.lock")


def main(argv: Sequence[str] | None = None) -> int:
    """Write the digests of all stages, or explain the digest of one."""
    parser = _cli.parser(__doc__)
    parser.add_argument("--out", type=Path, default=Path("code.json"), help="JSON file of digests to write")
    parser.add_argument(
        "--explain", metavar="STAGE", help="list the code parts of a stage; * marks changed ones"
    )
    args = parser.parse_args(argv)

    gc.disable()  # syntax trees are many objects that all stay until the end; looking through them costs 40 %
    stages, parts = code.read_stages(GRAPHS), CodeParts(PACKAGES, LOCK)
    if args.explain is None:
        digests = code.write(stages, parts, args.out)
        _cli.say("code", f"digests of {len(digests)} stages")
        return 0
    if args.explain not in stages:
        raise ConfigError(f"unknown stage {args.explain}; expected one of {', '.join(stages)}")
    print("\n".join(code.explain(stages[args.explain], parts, args.out)))
    return 0


if __name__ == "__main__":
    sys.exit(_cli.run(main))
