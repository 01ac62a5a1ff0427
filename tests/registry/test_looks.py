import math
from datetime import timedelta

import pytest

from melanoma import tracking
from melanoma.registry import ledger, looks

NAME, OTHER = "melanoma-ph2", "melanoma-isic"
TEN = [f"image{number}" for number in range(10)]


def look(image_ids=TEN, model="m", *, name=NAME, purpose="evaluate", run_id="r", once=False):
    looks.record(
        name,
        images=image_ids,
        model="tuned",
        model_digest=model,
        purpose=purpose,
        run_id=run_id,
        once=once,
    )


def old_look(digest, model="old", *, purpose="promote"):
    """As an earlier version recorded it, without the images, the run and the name of the model."""
    tags = {"test_digest": digest, "model_digest": model, "purpose": purpose}
    ledger.add(NAME, ledger.LOOK, by="pipelines.promote", reason="scored", tags=tags, evidence={})


def counted(image_ids=TEN):
    found = looks.earlier(image_ids).count()
    return found.num_looks, found.num_models, found.num_choices


@pytest.fixture
def downloads(monkeypatch):
    """The entries whose images are read from the artifact store."""
    looks._read_images.cache_clear()
    read = []

    def download(run_id, name, folder):
        read.append(run_id)
        return original(run_id, name, folder)

    original = tracking.download_run_file
    monkeypatch.setattr(tracking, "download_run_file", download)
    return read


def test_without_looks_all_counts_are_zero_and_the_share_is_undefined(shelf):
    found = looks.earlier(TEN).count()
    assert (found.num_looks, found.num_models, found.num_choices, found.is_at_least) == (0, 0, 0, False)
    assert math.isnan(found.share)
    assert looks.count_by_set(NAME) == {}


def test_a_look_is_named_by_its_purpose_and_its_model(shelf):
    look(purpose="evaluate")
    assert tracking.read_run(ledger.entries()[0].run_id).info.run_name == "look evaluate tuned"


def test_the_same_model_twice_is_one_model_and_two_looks(shelf):
    look(model="m")
    look(model="m")
    assert counted() == (2, 1, 0)
    look(model="n")
    assert counted() == (3, 2, 0)


def test_only_looks_to_promote_count_as_choosing(shelf):
    look(purpose="evaluate")
    look(purpose="promote", model="n")
    assert counted() == (2, 2, 1)
    assert looks.earlier(TEN).models() == ["n"]
    (chosen,) = [one for one in looks.earlier(TEN).looks if one.purpose == "promote"]
    assert looks.earlier(TEN).models(since=chosen.at - timedelta(seconds=1)) == ["n"]
    assert looks.earlier(TEN).models(since=chosen.at) == []
    assert looks.earlier(TEN).models(purpose="evaluate") == ["m"]
    assert [entry.tags["by"] for entry in ledger.entries(NAME)] == ["pipelines.evaluate", "pipelines.promote"]


def test_looks_of_all_models_and_cohorts_count_and_those_at_other_images_do_not(shelf):
    look(name=NAME)
    look(name=OTHER, purpose="transfer")
    look([f"other{number}" for number in range(10)])
    assert counted() == (2, 1, 0)
    assert [(one.registered_model, one.purpose) for one in looks.earlier(TEN).looks] == [
        (NAME, "evaluate"),
        (OTHER, "transfer"),
    ]


def test_a_set_with_an_image_more_or_less_does_not_start_again_at_zero(shelf):
    look(TEN)
    more, fewer = [*TEN, "new"], TEN[1:]
    assert counted(more) == counted(fewer) == (1, 1, 0)
    assert [one.share for one in looks.earlier(more).looks] == [10 / 11]
    assert [one.share for one in looks.earlier(fewer).looks] == [1.0]


def test_the_share_is_of_the_images_in_question(shelf):
    look(TEN)  # 10 of 10
    look(TEN[:4])  # 4 of 10
    look([*TEN[8:], *(f"other{number}" for number in range(90))])  # 2 of 10
    assert [one.share for one in looks.earlier(TEN).looks] == [1.0, 0.4, 0.2]
    assert looks.earlier(TEN).count().share == pytest.approx((1.0 + 0.4 + 0.2) / 3)


def test_the_same_pixels_under_another_id_were_seen_and_other_pixels_were_not(shelf):
    look({"a": "pixels 1", "b": "pixels 2"})
    renamed = {"other a": "pixels 1", "new": "pixels 3"}
    assert [one.share for one in looks.earlier(renamed).looks] == [0.5]
    assert counted({"new": "pixels 3"}) == (0, 0, 0)
    assert counted(["a"]) == (1, 1, 0)  # ids alone still find it
    assert counted({"a": "packed at another size"}) == (1, 1, 0)


def test_a_look_that_kept_ids_alone_is_found_by_them(shelf):
    digest = looks.digest_of_images(["a", "b"])
    tags = {"test_digest": digest, "model_digest": "m", "purpose": "evaluate", looks.NUM_IMAGES_TAG: 2}
    ledger.add(NAME, ledger.LOOK, by="b", reason="r", tags=tags, evidence={looks.IMAGE_IDS: ["a", "b"]})
    assert [one.share for one in looks.earlier({"a": "pixels 1", "c": "pixels 3"}).looks] == [0.5]


def test_an_image_that_was_scored_in_several_copies_counts_once(shelf):
    look([*TEN, *TEN])
    assert [one.share for one in looks.earlier(TEN).looks] == [1.0]
    assert ledger.entries(NAME)[0].tags[looks.NUM_IMAGES_TAG] == "10"


def test_a_stage_that_resumes_records_a_network_once(shelf):
    for _ in range(2):
        look(purpose="crops", run_id="a", once=True)
        look(purpose="crops", run_id="b", once=True)
    assert counted() == (2, 1, 0)
    look(purpose="crops", run_id="a")
    assert counted() == (3, 1, 0)


def test_an_old_look_at_exactly_this_set_counts_whole_and_hides_nothing(shelf):
    old_look(looks.digest_of_images(TEN))
    found = looks.earlier(TEN)
    assert found.count() == looks.Looks(
        num_looks=1, num_models=1, num_choices=1, share=1.0, is_at_least=False
    )
    assert found.models() == ["old"]


def test_an_old_look_at_another_set_makes_the_count_at_least(shelf):
    old_look(looks.digest_of_images(TEN[1:]))
    look(TEN)
    found = looks.earlier(TEN)
    assert (found.num_unknown, found.count().num_looks, found.count().is_at_least) == (1, 1, True)


def test_a_later_look_at_the_same_set_tells_which_images_an_old_one_saw(shelf):
    old_look(looks.digest_of_images(TEN[:5]))
    look(TEN[:5])
    found = looks.earlier(TEN)
    assert [one.share for one in found.looks] == [0.5, 0.5]
    assert not found.count().is_at_least


def test_a_look_whose_images_are_gone_makes_the_count_at_least(shelf, monkeypatch):
    look(TEN[:5], model="lost")
    looks._read_images.cache_clear()
    (entry,) = ledger.entries(NAME)
    tracking.client().log_text(
        entry.run_id, '{"image_ids": ["image7"]}', ledger.EVIDENCE
    )  # not what was scored
    assert looks.earlier(TEN).count().is_at_least
    assert counted(TEN[:5]) == (1, 1, 0)  # found by its digest


def test_each_set_is_read_once_however_many_looks_there_are(shelf, downloads):
    for number in range(6):
        look(TEN[: 5 + number % 2], model=str(number))
    assert counted() == (6, 6, 0)
    assert len(downloads) == 2
    assert counted() == (6, 6, 0)
    assert len(downloads) == 2  # remembered


def test_every_test_set_of_a_model_is_counted_with_all_looks_at_its_images(shelf):
    look(TEN)
    look(TEN[:5], purpose="promote", model="n")
    look([*TEN, "elsewhere"], name=OTHER)
    look(["image0"], purpose="crossvalidate")  # a fold, which is no test set
    found = looks.count_by_set(NAME)
    assert set(found) == {looks.digest_of_images(TEN), looks.digest_of_images(TEN[:5])}
    ten, five = (found[looks.digest_of_images(ids)] for ids in (TEN, TEN[:5]))
    assert (ten.num_looks, five.num_looks) == (4, 4)
    assert ten.share == pytest.approx((1 + 0.5 + 1 + 0.1) / 4)
    assert five.share == pytest.approx((1 + 1 + 1 + 0.2) / 4)


def test_a_set_is_the_same_in_any_order_and_another_with_any_other_image():
    digest = looks.digest_of_images(["a", "b", "c"])
    assert looks.digest_of_images(["c", "a", "b"]) == digest
    assert looks.digest_of_images(iter(["b", "c", "a"])) == digest
    others = (["a", "b"], ["a", "b", "c", "d"], ["a", "b", "d"], ["a", "bc"], ["ab", "c"])
    assert digest not in {looks.digest_of_images(ids) for ids in others}
