"""Push the data of this version to the S3 store, or pull it from there, and check every object.

Not a stage. Run by `make data-push` and `make data-pull`. The store is DVC's default remote; keys and
endpoint come from the environment: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_DEFAULT_REGION and, for a
store that is not AWS, AWS_ENDPOINT_URL_S3. Runs and registered models are in MLflow's stores, not here.
"""

import argparse
import sys
from collections.abc import Sequence

from melanoma.stages import storage
from pipelines import _cli


def main(argv: Sequence[str] | None = None) -> int:
    """Push or pull, and report what lies where."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("direction", choices=("push", "pull"))
    direction = parser.parse_args(argv).direction

    _cli.say(f"storage {direction}", {"push": storage.push, "pull": storage.pull}[direction]())
    return 0


if __name__ == "__main__":
    sys.exit(_cli.run(main))
