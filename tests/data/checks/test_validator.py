import pandas as pd
import pytest
from great_expectations import expectations as gxe

from melanoma.data.checks.validator import Check, Validator
from melanoma.errors import DataError


def test_a_check_that_cannot_be_run_does_not_count_as_passed(tmp_path):
    table = pd.DataFrame({"image_id": ["a"], "width": [200.0]})
    there = Check("there", "quarantine", gxe.ExpectColumnValuesToNotBeNull(column="width"))
    absent = Check("absent", "quarantine", gxe.ExpectColumnValuesToNotBeNull(column="height"))
    validator = Validator(tmp_path, run_name="toy")
    assert validator.run(table, [there], suite_name="legal")[0].is_passed
    assert (validator.build_docs() / "index.html").is_file()
    with pytest.raises(DataError, match="The check absent failed to run"):
        validator.run(table, [absent], suite_name="broken")
