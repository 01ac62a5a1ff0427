"""Serve the staging model of a cohort: run by `make serve` as `python -m pipelines._serve`.

Prints one line if something is missing; otherwise this process becomes `mlflow models serve`, with the
address of the tracking store: the default of MLflow is wrong in a folder with spaces in its path.
"""

import os
import sys
from collections.abc import Sequence

from melanoma import config, project
from melanoma.registry.versions import STAGING, model_name
from melanoma.stages import needs
from pipelines import _cli, relocate


def main(argv: Sequence[str] | None = None) -> int:
    """Check the requirements, then become `mlflow models serve`."""
    parser = _cli.parser(__doc__)
    parser.add_argument("--cohort", required=True, help="cohort of the model")
    parser.add_argument("--port", type=_cli.port, required=True, help="port of the server")
    args = parser.parse_args(argv)

    needs.require_store()
    relocate.main(["--check"])
    needs.require_staging(args.cohort, config.load(args.params).cohorts)
    needs.require_free_port(args.port, f"make serve COHORT={args.cohort} PORT=")
    uri = f"models:/{model_name(args.cohort)}@{STAGING}"
    command = ["mlflow", "models", "serve", "-m", uri, "--env-manager", "local", "--port", str(args.port)]
    sys.stdout.flush()
    os.execvpe("mlflow", command, os.environ | {"MLFLOW_TRACKING_URI": project.tracking_uri()})  # noqa: S606  takes the place of this process


if __name__ == "__main__":
    sys.exit(_cli.run(main))
