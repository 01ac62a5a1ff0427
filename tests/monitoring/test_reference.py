"""The reference of a version is what it answered on validation images, without saying whose they are."""

import hashlib

import numpy as np
import pandas as pd
import pytest

from melanoma.errors import DataError
from melanoma.monitoring import reference
from melanoma.scoring.unlike import Judgement
from tests.serving.conftest import POINT

GROUPS = ["g1", "g1", "g2", "g3"]
SCORES = [0.1, 0.4, 0.5, 0.9]


def seen(groups=GROUPS, scores=SCORES, **options):
    return reference.seen(pd.DataFrame({"group_id": groups, "score": scores}), **options)


def written(path, *arguments, **options):
    reference.write(seen(*arguments, **options), POINT, path)
    return reference.read(path)


def test_it_holds_scores_decisions_facts_and_embeddings(tmp_path):
    embeddings = np.arange(8, dtype=float).reshape(4, 2)
    judged = [Judgement(None if n else "blurred", {"sharpness": float(n)}) for n in range(4)]
    rows = written(tmp_path / "a.parquet", embeddings=embeddings, judged=judged).sort_values("score")
    assert rows["score"].tolist() == SCORES
    np.testing.assert_allclose(rows["probability"], POINT.calibration.apply(np.array(SCORES)))
    decided = POINT.decide(rows["probability"].to_numpy())
    assert rows["decision"].tolist() == ["refer", *decided[1:]]
    assert rows["fact_sharpness"].tolist() == [0, 1, 2, 3]
    decoded = np.stack([np.frombuffer(one, "<f2") for one in rows["embedding"]])
    np.testing.assert_array_equal(decoded, embeddings)
    assert set(reference.COLUMNS) <= set(rows)


def test_images_of_a_group_stay_together_and_nobody_is_named(tmp_path):
    path = tmp_path / "a.parquet"
    rows = written(path, embeddings=None).sort_values("score")
    first, same, *others = rows["group_key"]
    assert first == same
    assert len({first, *others}) == 3
    content = path.read_bytes()
    for name in set(GROUPS):
        assert hashlib.sha256(name.encode()).hexdigest().encode() not in content
    assert "group_id" not in rows


def test_many_images_are_sampled_by_whole_groups_whatever_their_order(tmp_path, monkeypatch):
    monkeypatch.setattr(reference, "MAX_IMAGES", 10)
    groups = [f"g{n // 3}" for n in range(30)]
    scores = np.linspace(0.1, 0.9, 30)
    rows = written(tmp_path / "a.parquet", groups, scores, embeddings=None)
    assert len(rows) == 9
    assert (rows.groupby("group_key").size() == 3).all()
    order = np.random.default_rng(1).permutation(30)
    again = written(tmp_path / "b.parquet", np.array(groups)[order], scores[order], embeddings=None)
    assert sorted(again["score"]) == sorted(rows["score"])


def test_a_file_that_is_no_reference_is_refused(tmp_path):
    path = tmp_path / "a.parquet"
    pd.DataFrame({"score": [0.5]}).to_parquet(path)
    with pytest.raises(DataError, match="is no reference of a served model: it lacks group_key"):
        reference.read(path)
