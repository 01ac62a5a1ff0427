import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from melanoma import files
from melanoma.errors import DataError


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o777


# ---- whole or not at all ---------------------------------------------------------------------


def test_a_file_appears_under_its_name_only_when_the_block_ends(tmp_path):
    path = tmp_path / "new" / "a.txt"
    with files.atomic_file(path) as unfinished:
        unfinished.write_text("whole")
        assert not path.exists()
        assert (unfinished.parent, unfinished.suffix) == (path.parent, ".txt")
    assert path.read_text() == "whole"
    assert names_in(path.parent) == ["a.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_file_that_fails_half_way_leaves_the_old_one_and_nothing_else(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(error), files.atomic_file(path) as unfinished:
        unfinished.write_text("half")
        raise error
    assert path.read_text() == "old"
    assert names_in(tmp_path) == ["a.txt"]


def test_a_folder_replaces_the_old_one_as_a_whole(tmp_path):
    path = tmp_path / "new" / "folder"
    for name in ("first", "second"):
        with files.atomic_folder(path) as unfinished:
            (unfinished / name).write_text(name)
            assert not (path / name).exists()
        assert names_in(path) == [name]
        assert names_in(path.parent) == ["folder"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_folder_that_fails_half_way_leaves_the_old_one_and_nothing_else(tmp_path, error):
    path = tmp_path / "folder"
    path.mkdir()
    (path / "old").write_text("old")
    with pytest.raises(error), files.atomic_folder(path) as unfinished:
        (unfinished / "half").write_text("half")
        raise error
    assert names_in(path) == ["old"]
    assert names_in(tmp_path) == ["folder"]


def test_a_folder_is_copied_with_all_below_it_and_replaces_what_was_there(tmp_path):
    (tmp_path / "source" / "deeper").mkdir(parents=True)
    (tmp_path / "source" / "deeper" / "a").write_text("a")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").write_text("old")
    files.copy_folder(tmp_path / "source", tmp_path / "out")
    assert names_in(tmp_path / "out") == ["deeper"]
    assert (tmp_path / "out" / "deeper" / "a").read_text() == "a"


def test_a_copy_that_fails_leaves_the_old_folder(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").write_text("old")
    with pytest.raises(FileNotFoundError):
        files.copy_folder(tmp_path / "missing", tmp_path / "out")
    assert names_in(tmp_path) == ["out"]
    assert names_in(tmp_path / "out") == ["old"]


# ---- permissions -----------------------------------------------------------------------------

WRITE = """
import sys
from pathlib import Path
from melanoma import files
top = Path(sys.argv[1])
files.write_text("x", top / "new" / "a.txt")
files.copy_folder(top / "source", top / "copy")
with files.exclusive_lock(top / "locks" / "lock", "x"):
    pass
"""


@pytest.mark.parametrize(
    ("umask", "file_mode", "folder_mode"),
    [(0o022, 0o644, 0o755), (0o027, 0o640, 0o750), (0o077, 0o600, 0o700), (0o002, 0o664, 0o775)],
)
def test_what_is_written_has_the_permissions_of_the_umask(tmp_path, umask, file_mode, folder_mode):
    source = tmp_path / "source" / "deeper"
    source.mkdir(parents=True)
    (source / "a").write_text("a")
    for path, mode in ((source / "a", 0o666), (source, 0o777), (source.parent, 0o700)):
        path.chmod(mode)  # of what is copied, nothing but the content counts
    subprocess.run([sys.executable, "-c", WRITE, str(tmp_path)], check=True, umask=umask)
    modes = {
        path.relative_to(tmp_path).as_posix(): mode_of(path)
        for path in tmp_path.rglob("*")
        if not path.is_relative_to(tmp_path / "source")
    }
    assert modes == {
        **dict.fromkeys(("new", "copy", "copy/deeper", "locks"), folder_mode),
        **dict.fromkeys(("new/a.txt", "copy/deeper/a", "locks/lock"), file_mode),
    }


# ---- JSON ------------------------------------------------------------------------------------


@pytest.mark.parametrize("undefined", [float("nan"), float("inf"), -float("inf"), np.nan, np.float32("nan")])
def test_undefined_numbers_are_written_as_null_at_any_depth(tmp_path, undefined):
    files.write_json({"a": undefined, "b": [{"c": (1.5, undefined)}]}, tmp_path / "a.json")
    assert files.read_json(tmp_path / "a.json") == {"a": None, "b": [{"c": [1.5, None]}]}


def test_numbers_of_numpy_are_written_as_numbers(tmp_path):
    numbers = {"i": np.int64(3), "f": np.float32(0.5), "b": np.bool_(True), "of": {7: "key"}}
    files.write_json(numbers, tmp_path / "a.json")
    assert files.read_json(tmp_path / "a.json") == {"i": 3, "f": 0.5, "b": True, "of": {"7": "key"}}


def test_json_is_written_for_people_too(tmp_path):
    files.write_json({"name": "Mendonça"}, tmp_path / "a.json")
    assert (tmp_path / "a.json").read_bytes() == '{\n  "name": "Mendonça"\n}\n'.encode()


def test_content_that_is_no_json_leaves_the_old_file(tmp_path):
    files.write_json({"a": 1}, tmp_path / "a.json")
    with pytest.raises(TypeError):
        files.write_json({"a": object()}, tmp_path / "a.json")
    assert files.read_json(tmp_path / "a.json") == {"a": 1}
    assert names_in(tmp_path) == ["a.json"]


@pytest.mark.parametrize("content", [b"", b"{", b"not JSON", b"\xff\xfe\x00"])
def test_a_file_that_is_no_json_is_refused_by_its_name(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.json is not JSON .*Remove it and run `dvc repro`"):
        files.read_json(tmp_path / "a.json")


# ---- tables ----------------------------------------------------------------------------------


def test_csv_has_unix_newlines_blanks_for_missing_values_and_no_index(tmp_path):
    frame = pd.DataFrame({"name": ["a", None], "number": pd.array([1, None], dtype="Int64")})
    files.write_csv(frame, tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_bytes() == b"name,number\na,1\n,\n"


def test_csv_with_a_carriage_return_is_quoted_and_its_text_is_what_is_written(tmp_path):
    frame = pd.DataFrame({"name": ["a\rb", None], "number": [1, 2]})
    files.write_csv(frame, tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_bytes() == files.csv_text(frame).encode()
    assert files.csv_text(frame) == '"name","number"\n"a\rb","1"\n"","2"\n'


def test_csv_is_compressed_where_the_name_says_so(tmp_path):
    files.write_csv(pd.DataFrame({"a": [1]}), tmp_path / "a.csv.gz")
    assert pd.read_csv(tmp_path / "a.csv.gz")["a"].tolist() == [1]


def test_csv_is_read_with_the_given_options(tmp_path):
    (tmp_path / "a.csv").write_text("id\n007\n")
    assert files.read_csv(tmp_path / "a.csv", dtype="string")["id"].tolist() == ["007"]


def test_words_are_no_missing_values(tmp_path):
    ids = pd.DataFrame({"id": ["NA", "None", None], "score": [0.5, None, 1.0]})
    files.write_csv(ids, tmp_path / "a.csv")
    read = files.read_csv(tmp_path / "a.csv", dtype={"id": "string"})
    assert read["id"].fillna("missing").tolist() == ["NA", "None", "missing"]
    assert read["score"].isna().tolist() == [False, True, False]


@pytest.mark.parametrize("content", [b"", b"a,b\n1,2,3,4\n1\n,,,,,\n", b"name\n\xff\xfe\xff\n"])
def test_a_file_that_is_no_csv_is_refused_by_its_name(tmp_path, content):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.csv cannot be read as CSV"):
        files.read_csv(tmp_path / "a.csv")


def test_parquet_keeps_types_and_missing_values(tmp_path):
    frame = pd.DataFrame(
        {
            "name": pd.array(["a", None], dtype="string"),
            "number": pd.array([1, None], dtype="Int64"),
            "flag": pd.array([True, None], dtype="boolean"),
        },
        index=[5, 6],
    )
    files.write_parquet(frame, tmp_path / "a.parquet")
    pd.testing.assert_frame_equal(files.read_parquet(tmp_path / "a.parquet"), frame.reset_index(drop=True))


# ---- Parquet in groups -----------------------------------------------------------------------

NAMES = pa.schema({"name": pa.large_string(), "number": pa.int64()})


def named(*names: str | None) -> pd.DataFrame:
    return pd.DataFrame(
        {"name": pd.array(names, dtype="string"), "number": pd.array([None] * len(names), dtype="Int64")}
    )


def test_frames_become_row_groups_one_below_the_other(tmp_path):
    files.write_parquet_groups(
        iter([named(None, None), named("a"), named("b")]), tmp_path / "a.parquet", NAMES
    )
    assert pq.ParquetFile(tmp_path / "a.parquet").num_row_groups == 3
    restored = files.read_parquet(tmp_path / "a.parquet")
    assert restored["name"].fillna("-").tolist() == ["-", "-", "a", "b"]
    assert files.num_parquet_rows(tmp_path / "a.parquet") == 4


def test_no_frames_become_a_table_without_rows(tmp_path):
    files.write_parquet_groups([], tmp_path / "a.parquet", NAMES)
    assert list(files.read_parquet(tmp_path / "a.parquet")) == ["name", "number"]
    assert files.num_parquet_rows(tmp_path / "a.parquet") == 0


def test_a_frame_that_cannot_be_made_leaves_the_old_file_and_nothing_else(tmp_path):
    def frames():
        yield named("new")
        raise DataError("the second frame failed")

    files.write_parquet(named("old"), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="the second frame failed"):
        files.write_parquet_groups(frames(), tmp_path / "a.parquet", NAMES)
    assert files.read_parquet(tmp_path / "a.parquet")["name"].tolist() == ["old"]
    assert names_in(tmp_path) == ["a.parquet"]


@pytest.mark.parametrize(("size", "sizes"), [(2, [2, 2, 1]), (5, [5]), (9, [5])])
def test_a_table_is_read_in_groups_with_the_types_it_was_written_with(tmp_path, size, sizes):
    table = named("a", "b", None, "d", "e")
    files.write_parquet(table, tmp_path / "a.parquet")
    groups = list(files.read_parquet_groups(tmp_path / "a.parquet", ["name"], size=size))
    assert [len(group) for group in groups] == sizes
    pd.testing.assert_frame_equal(pd.concat(groups, ignore_index=True), table[["name"]])


def test_a_column_that_is_not_there_is_named(tmp_path):
    files.write_parquet(named("a"), tmp_path / "a.parquet")
    with pytest.raises(
        DataError, match=r"a\.parquet lacks the columns \['age'\]; it has \['name', 'number'\]"
    ):
        next(files.read_parquet_groups(tmp_path / "a.parquet", ["name", "age"], size=1))


@pytest.mark.parametrize(
    "read",
    [
        files.read_parquet,
        files.num_parquet_rows,
        lambda path: next(files.read_parquet_groups(path, ["name"], size=1)),
    ],
)
def test_a_file_that_is_no_parquet_is_refused_by_its_name(tmp_path, read):
    (tmp_path / "a.parquet").write_bytes(b"no table")
    with pytest.raises(DataError, match=r"a\.parquet cannot be read as Parquet"):
        read(tmp_path / "a.parquet")


@pytest.mark.parametrize(
    "read", [files.read_json, files.read_csv, files.read_parquet, files.num_parquet_rows, files.require]
)
def test_a_missing_file_is_refused_with_how_to_make_it(tmp_path, read):
    with pytest.raises(DataError, match=r"a\.file does not exist\. Run `dvc repro`, .*pipelines\.fetch"):
        read(tmp_path / "a.file")


def test_what_exists_is_not_refused(tmp_path):
    files.require(tmp_path)


def test_json_in_the_file_is_what_other_programs_read(tmp_path):
    files.write_json({"a": [1, None, "x"]}, tmp_path / "a.json")
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": [1, None, "x"]}


def test_one_process_at_a_time_is_let_in(tmp_path):
    program = "import sys\nfrom pathlib import Path\nfrom melanoma.files import exclusive_lock\n"
    program += "with exclusive_lock(Path(sys.argv[1]), 'x'): pass"
    lock = tmp_path / "deep" / "lock"
    command = [sys.executable, "-c", program, str(lock)]
    with files.exclusive_lock(lock, "a study"):
        refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode != 0
    assert f"Another process is using x (lock {lock})" in refused.stderr
    assert subprocess.run(command, check=False).returncode == 0


@pytest.mark.parametrize("content", ["null", "3", '["a"]', '"words"'])
def test_json_that_is_no_object_is_refused_by_its_name(tmp_path, content):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(DataError, match=r"a\.json must be a JSON object, got .*Remove it and run"):
        files.read_json(tmp_path / "a.json")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [({}, "lacks 'seeds'"), ({"seeds": None}, "does not fit"), ({"seeds": []}, "range")],
)
def test_a_file_of_another_shape_is_named_with_what_it_lacks(tmp_path, content, complaint):
    path = tmp_path / "a.json"
    with pytest.raises(DataError, match=rf"a\.json .*{complaint}"), files.expect_schema(path):
        content["seeds"][0]
    with files.expect_schema(path):
        assert {"seeds": [1]}["seeds"][0] == 1


@pytest.mark.parametrize(
    "hostile", ["../../escaped", "/etc/passwd", "a/b", "..", ".hidden", "", "zwei Wörter", "x" * 300]
)
def test_whatever_a_name_says_it_stays_in_its_folder(tmp_path, hostile):
    plain = files.plain_name(hostile)
    path = tmp_path / plain
    path.mkdir()
    assert path.resolve().parent == tmp_path.resolve()
    assert len(plain) <= 100
    assert plain != files.plain_name(f"{hostile} ")


def test_a_plain_name_is_kept():
    assert files.plain_name("tuned-MSK-1_2-seed1") == "tuned-MSK-1_2-seed1"
