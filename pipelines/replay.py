"""Post a dataset to a server as a stream, with late and biased labels, to show what follows serving.

Not a stage. Run as `python -m pipelines.replay --dataset ham10000 --url http://127.0.0.1:5001 --rate 2
--label-delay 60 --out replay`. The labels go to `labels.csv` in that folder. With `--read-queue CSV` nothing
is posted: the labels of that label queue are filled in. Reads sections `replay` and `target` of params.yaml.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from melanoma import config
from melanoma.stages import replay
from pipelines import _cli


def main(argv: Sequence[str] | None = None) -> int:
    """Post the stream, or label a queue, and print a line."""
    parser = _cli.parser(__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the stream, to resume it")
    parser.add_argument("--dataset", help="dataset to post, such as ham10000")
    parser.add_argument("--raw", type=Path, help="its raw folder; default: data/raw/<dataset>")
    parser.add_argument("--url", default="http://127.0.0.1:5001", help="address of the server")
    parser.add_argument("--rate", type=_positive, help="images per second; default: as fast as it answers")
    parser.add_argument("--label-delay", type=_positive, default=0.0, help="seconds until a label")
    parser.add_argument("--num-images", type=int, help="number of images; default: all")
    parser.add_argument("--cast", type=_positive, nargs=3, help="factors of red, green, blue: a colour cast")
    parser.add_argument("--patients", default="", help="put before patient ids: not those of another stream")
    parser.add_argument("--read-queue", type=Path, help="CSV of pipelines.queue to label instead of posting")
    parser.add_argument("--labelled", type=Path, help="CSV to write with --read-queue")
    args = parser.parse_args(argv)
    reads = args.read_queue is not None
    if reads != (args.dataset is None) or reads != (args.labelled is not None):
        parser.error("give --dataset to post, or --read-queue and --labelled to label")

    if reads:
        line = replay.read_queue(args.out, args.read_queue, args.labelled)
    else:
        params = config.load(args.params)
        raw = args.raw or Path("data/raw", args.dataset)
        cast = args.cast and tuple(args.cast)
        stream = replay.Stream(args.dataset, raw, cast, args.num_images, params.replay.seed, args.patients)
        pace = {"url": args.url, "rate": args.rate, "label_delay": args.label_delay}
        line = replay.run(stream, params, args.out, **pace)
    _cli.say("replay", line)
    return 0


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError(text)
    return value


if __name__ == "__main__":
    sys.exit(_cli.run(main))
