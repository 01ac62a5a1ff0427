from pathlib import Path

import pandas as pd
import pytest

from melanoma import files
from melanoma.data.checks import facts
from melanoma.data.checks.facts import FACT_DTYPES
from melanoma.errors import DataError
from tests.data.inspecting import inspect_images
from tests.data.pictures import encode, textured, write
from tests.execution.backends import processes


@pytest.fixture
def inspect_all(params):
    def inspect_all(paths: list[Path], *, num_workers: int = 1) -> pd.DataFrame:
        return inspect_images(
            records_of(paths),
            root=paths[0].parent,
            settings=params.inspect,
            execution=processes(num_workers),
            description="test",
        )

    return inspect_all


def records_of(paths: list[Path]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "image_id": [path.stem for path in paths],
            "path": [path.name for path in paths],
            "mask_path": pd.array([None] * len(paths), dtype="string"),
        }
    )


def test_all_columns_have_their_types_and_rows_keep_their_order(tmp_path, inspect_all):
    paths = [write(textured(seed), tmp_path / f"{9 - seed}.png") for seed in range(3)]
    table = inspect_all(paths)
    assert table["image_id"].tolist() == ["9", "8", "7"]
    assert {name: str(dtype) for name, dtype in table.dtypes.items()} == FACT_DTYPES


def test_one_process_and_two_give_equal_frames(tmp_path, inspect_all):
    paths = [write(textured(seed), tmp_path / f"{seed}.png") for seed in range(5)]
    (tmp_path / "9.png").write_bytes(b"no picture")
    paths.append(tmp_path / "9.png")
    pd.testing.assert_frame_equal(inspect_all(paths, num_workers=1), inspect_all(paths, num_workers=2))


def test_no_records_have_no_facts(params):
    table = inspect_images(
        records_of([]), root=Path(), settings=params.inspect, execution=processes(), description="test"
    )
    assert table.empty
    assert list(table) == list(FACT_DTYPES)


def test_paths_and_mask_paths_are_relative_to_the_root(tmp_path, params):
    write(textured(1), tmp_path / "images" / "a.png")
    write(textured(1), tmp_path / "masks" / "a.png")
    records = pd.DataFrame(
        {"image_id": ["a", "b"], "path": ["images/a.png"] * 2, "mask_path": ["masks/a.png", None]}
    )
    table = inspect_images(
        records, root=tmp_path, settings=params.inspect, execution=processes(), description="test"
    )
    assert table["decodes"].all()
    assert table["mask_fits"].tolist() == [True, pd.NA]


# ---- in groups -------------------------------------------------------------------------------


@pytest.fixture
def groups(tmp_path, params, monkeypatch):
    """Facts of 7 images, 3 at a time, and of what tables of records were drawn when."""
    monkeypatch.setattr(facts, "ROWS_AT_HAND", 3)
    paths = [write(textured(seed, side=16), tmp_path / f"{seed}.png") for seed in range(7)]
    drawn: list[int] = []

    def tables():
        for number, path in enumerate(paths):
            drawn.append(number)
            yield records_of([path])

    made = facts.inspect_groups(
        tables(),
        root=tmp_path,
        settings=params.inspect,
        num_images=7,
        execution=processes(),
        description="test",
    )
    return made, drawn


def test_facts_come_in_groups_that_together_are_all(groups):
    made, _ = groups
    tables = list(made)
    assert [len(table) for table in tables] == [3, 3, 1]
    assert pd.concat(tables)["image_id"].tolist() == list("0123456")


def test_records_are_drawn_only_when_their_facts_are_wanted(groups):
    made, drawn = groups
    next(made)
    assert len(drawn) <= 4


def test_a_group_without_any_value_in_a_column_is_written_with_its_type(tmp_path, inspect_all):
    whole = write(textured(1), tmp_path / "whole.png")
    (tmp_path / "half.jpg").write_bytes(encode(textured(2), "JPEG")[:400])
    parts = [inspect_all([tmp_path / "half.jpg"]), inspect_all([whole])]
    files.write_parquet_groups(parts, tmp_path / "facts.parquet", facts.arrow_schema())
    restored = files.read_parquet(tmp_path / "facts.parquet")
    assert {name: str(dtype) for name, dtype in restored.dtypes.items()} == FACT_DTYPES
    assert list(restored["phashes"][1]) == parts[1]["phashes"][0]
    assert restored["thumbnail"][1] == parts[1]["thumbnail"][0]
    assert restored["phashes"][0] is None
    plain = restored.columns.drop(["phashes", "thumbnail"])
    pd.testing.assert_frame_equal(restored[plain], pd.concat(parts, ignore_index=True)[plain])


def test_images_that_were_not_inspected_are_named():
    records = pd.DataFrame({"image_id": ["a", "b", "c"]})
    facts.require_facts(records, pd.DataFrame({"image_id": ["d", "c", "b", "a"]}))
    with pytest.raises(DataError, match="2 images in the records were not inspected: a, c"):
        facts.require_facts(records, pd.DataFrame({"image_id": ["b"]}))
