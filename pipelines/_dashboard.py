"""Show all hyperparameter searches in Optuna's dashboard; run by `make dashboard`. Ctrl-C stops it."""

import sys
from collections.abc import Sequence
from pathlib import Path

import optuna_dashboard

from melanoma import config
from melanoma.errors import TrainingError
from melanoma.stages import needs, ports
from melanoma.training.storages import hide_password, open_storage
from pipelines import _cli


def main(argv: Sequence[str] | None = None) -> int:
    """Serve the studies in `params.yaml: tune.storage` on this machine."""
    parser = _cli.parser(__doc__)
    parser.add_argument("--port", type=_cli.port, default=8080, help="port of the server (default: 8080)")
    args = parser.parse_args(argv)

    storage = config.load(args.params).tune.storage
    if "://" not in storage and not Path(storage).is_file():
        raise TrainingError(f"There are no searches yet: {storage} does not exist. Run `make demo` first.")
    needs.require_free_port(args.port, "make dashboard DASHBOARD_PORT=")
    address = f"http://{ports.LOCAL}:{args.port}"
    _cli.say("dashboard", f"{address} shows every study in {hide_password(storage)}; press Ctrl-C to stop")
    optuna_dashboard.run_server(open_storage(storage), host=ports.LOCAL, port=args.port)
    return 0


if __name__ == "__main__":
    sys.exit(_cli.run(main))
