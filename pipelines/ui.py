"""Start MLflow's server for the runs of this project and print the addresses of its pages.

Run by `make ui`; Ctrl-C stops it. If MLFLOW_TRACKING_URI names a server, only its addresses are printed.
"""

import argparse
import sys
from collections.abc import Sequence

from melanoma.stages import ui
from pipelines import _cli, relocate


def main(argv: Sequence[str] | None = None) -> int:
    """Print the pages and serve them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=_cli.port, default=5000, help="port of the server (default: 5000)")
    parser.add_argument("--no-browser", action="store_true", help="only print the addresses")
    args = parser.parse_args(argv)

    relocate.main(["--check"])
    ui.open_pages(args.port, is_browser_opened=not args.no_browser)
    return 0


if __name__ == "__main__":
    sys.exit(_cli.run(main))
