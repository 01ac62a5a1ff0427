import shutil
from pathlib import Path

import pandas as pd

from melanoma import schema
from melanoma.data.sources import ph2, raw_folder
from pipelines import ingest
from tests.conftest import ROOT
from tests.data.ph2_files import flat_folder
from tests.pipelines.workspace import run_stage


def test_records_have_the_common_columns_and_one_row_an_image(workspace):
    records = pd.read_parquet(workspace / "data/records/sample.parquet")
    assert tuple(records.columns) == schema.RECORD_COLUMNS
    assert len(records) == 72
    assert records["target"].isna().sum() == 1
    assert all((workspace / path).is_file() for path in records["path"])


def test_clinical_attributes_go_into_the_records(tmp_path):
    with ph2.open_source(flat_folder(tmp_path / "ph2"), is_partial=False) as plan:
        raw_folder.write_raw(plan, tmp_path / "raw")
    out = tmp_path / "ph2.parquet"
    paths = ["--raw", str(tmp_path / "raw"), "--out", str(out), "--params", str(ROOT / "params.yaml")]
    assert ingest.main(["--dataset", "ph2", *paths]) == 0
    records = pd.read_parquet(out)
    assert records["streaks"].tolist() == ["absent", "present", "absent"]
    assert records["colours"].tolist()[:2] == ["dark brown", "light brown; dark brown"]


def test_a_missing_raw_folder_is_refused_with_how_to_get_it(broken, capsys):
    shutil.rmtree("data/raw/sample")
    Path("data/records/sample.parquet").unlink()
    assert run_stage("ingest") == 1
    message = capsys.readouterr().err
    assert "data/raw/sample does not exist" in message
    assert "pipelines.fetch" in message
    assert not Path("data/records/sample.parquet").exists()


def test_a_row_without_a_file_is_refused_by_name(broken, capsys):
    Path("data/raw/sample/images/SYN_00003.jpg").unlink()
    assert run_stage("ingest") == 1
    assert (
        "1 rows name files that are not in data/raw/sample/images: SYN_00003.jpg" in capsys.readouterr().err
    )


def test_a_file_without_a_row_is_refused_by_name(broken, capsys):
    shutil.copy("data/raw/sample/images/SYN_00003.jpg", "data/raw/sample/images/stray.jpg")
    assert run_stage("ingest") == 1
    assert "1 files have no row in data/raw/sample/metadata.csv: stray.jpg" in capsys.readouterr().err


def test_only_the_first_five_offenders_are_named(broken, capsys):
    for file in sorted(Path("data/raw/sample/images").iterdir())[:7]:
        file.unlink()
    assert run_stage("ingest") == 1
    assert "SYN_00005.jpg and 2 more" in capsys.readouterr().err
