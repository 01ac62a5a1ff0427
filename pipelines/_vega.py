"""Write Vega, which draws the page of `dvc plots show`, as one script; run by `make install`."""

import sys
from collections.abc import Sequence
from pathlib import Path

import vl_convert

from melanoma import files
from pipelines import _cli

VEGA_LITE = "5.21"  # the major version of the templates of DVC

SNIPPET = "window.vegaEmbed = vegaEmbed;"  # what the pages of DVC call


def main(argv: Sequence[str] | None = None) -> int:
    """Write Vega, Vega-Lite and Vega-Embed to one file."""
    parser = _cli.parser(__doc__)
    parser.add_argument("--out", type=Path, required=True, help="script to write")
    args = parser.parse_args(argv)
    files.write_text(vl_convert.javascript_bundle(SNIPPET, VEGA_LITE), args.out)
    return 0


if __name__ == "__main__":
    sys.exit(_cli.run(main))
