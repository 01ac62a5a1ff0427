import argparse
from pathlib import Path

from pipelines import _records_options


def test_the_option_of_several_files_may_be_repeated():
    parser = argparse.ArgumentParser()
    _records_options.add_labels(parser)
    assert parser.parse_args(["--labels", "a", "b", "--labels", "c"]).labels == [
        Path("a"),
        Path("b"),
        Path("c"),
    ]
    assert parser.parse_args([]).labels == []
