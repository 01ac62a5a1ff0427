import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from melanoma.config.evaluation import Audit
from melanoma.data import artefacts
from melanoma.errors import DataError
from melanoma.evaluation import audit
from melanoma.scoring.operating_point import Calibration, OperatingPoint

SETTINGS = Audit(
    seed=1,
    num_folds=3,
    histogram_bins=4,
    border_fraction=0.2,
    max_flipped_fraction=0.2,
    max_images=500,
)
WITHOUT_LESION = ("border_only", "lesion_black", "lesion_filled")
POINT = OperatingPoint(Calibration(), threshold=0.5, refer_from=0.5, refer_to=0.5)
NUM = 24
SIZE = 40


def darkness(pixels: np.ndarray) -> np.ndarray:
    """0 of white, 1 of black; over all but the first axis."""
    return 1 - pixels.reshape(len(pixels), -1).mean(1) / 255


def reads_the_lesion(images: np.ndarray) -> np.ndarray:
    return darkness(images[:, 15:25, 15:25])


def reads_the_border(images: np.ndarray) -> np.ndarray:
    return darkness(images[:, :, :4])


@pytest.fixture
def pictures():
    """Malignant ones have a darker lesion and a darker left edge."""
    target = np.arange(NUM) % 2
    images = np.full((NUM, SIZE, SIZE, 3), 220, dtype=np.uint8)
    shade = np.where(target == 1, 60, 180) + np.arange(NUM)
    images[:, 15:25, 15:25] = shade[:, None, None, None]
    images[:, :, :4] = shade[:, None, None, None]
    rows = pd.DataFrame(
        {
            "image_id": [f"i{n}" for n in range(NUM)],
            "dataset": "toy",
            "group_id": [f"g{n}" for n in range(NUM)],
            "target": target,
            "split": "test",
        }
    )
    mask = np.zeros((SIZE, SIZE), dtype=bool)
    mask[15:25, 15:25] = True
    return rows, images, dict.fromkeys(rows["image_id"][: NUM - 4], mask)


def by_image(score: np.ndarray) -> pd.Series:
    """Scores of the pictures, in their order."""
    return pd.Series(score, index=[f"i{n}" for n in range(NUM)])


def audited(pictures, score) -> audit.Audited:
    rows, images, masks = pictures
    return audit.Audited(rows=rows, images=images, masks=masks, score=score, point=POINT)


BLIND = {"value": 0.5, "low": 0.4, "high": 0.6}
AHEAD = {"value": 0.3, "low": 0.2, "high": 0.4}


def found(measured: dict, compared: dict | None = None, *, size: dict | None = BLIND) -> dict:
    """What the stage writes; the lesion's size tells nothing, or there are no masks."""
    told = {} if size is None else {"lesion_size": {"auc_roc": size, "selected_minus_reference": AHEAD}}
    return {
        "variants": measured,
        "references": told | (compared or {}),
    }


def warnings(content: dict) -> list[str]:
    return audit.warnings(content, max_flipped_fraction=SETTINGS.max_flipped_fraction)


def test_a_network_that_reads_the_border_is_caught(pictures):
    measured = audit.measure(audited(pictures, reads_the_border), SETTINGS)
    for name in WITHOUT_LESION:
        assert measured[name]["auc_roc"]["value"] == 1
        assert measured[name]["mean_probability_change"] == 0
    warned = warnings(found(measured))
    assert [text.split(":")[0] for text in warned[:3]] == list(WITHOUT_LESION)


def test_a_network_that_reads_the_lesion_knows_nothing_without_it(pictures):
    measured = audit.measure(audited(pictures, reads_the_lesion), SETTINGS)
    assert measured[audit.PLAIN]["auc_roc"]["value"] == 1
    assert measured["lesion_black"]["auc_roc"]["value"] == 1 / 2  # all are equally black
    assert measured["lesion_black"]["flipped_fraction"] == 1 / 2  # the negative ones turn
    assert not any(text.startswith("lesion_black") for text in warnings(found(measured)))


def test_variants_without_the_lesion_are_those_of_images_with_a_mask(pictures):
    measured = audit.measure(audited(pictures, reads_the_lesion), SETTINGS)
    assert measured["lesion_black"]["num_images"] == measured["lesion_filled"]["num_images"] == NUM - 4
    assert measured["border_only"]["num_images"] == measured["hair"]["num_images"] == NUM
    without = audit.measure(audited((*pictures[:2], {}), reads_the_lesion), SETTINGS)
    assert set(measured) - set(without) == {"lesion_black", "lesion_filled"}


def test_every_artefact_is_asked_for(pictures):
    measured = audit.measure(audited(pictures, reads_the_lesion), SETTINGS)
    assert {audit.PLAIN, *WITHOUT_LESION, *artefacts.ARTEFACTS} == set(measured)


def test_an_artefact_that_turns_many_decisions_is_warned_of(pictures):
    measured = audit.measure(audited(pictures, reads_the_lesion), SETTINGS)
    measured["ink"]["flipped_fraction"] = 0.21
    assert "ink: adding it changes 21% of the decisions" in warnings(found(measured))
    measured["ink"]["flipped_fraction"] = 0.2
    assert not any("ink" in text for text in warnings(found(measured)))


def test_references_are_compared_on_the_same_images(pictures):
    rows, images, _ = pictures
    network, blind = by_image(reads_the_lesion(images)), by_image(np.arange(NUM) % 3 / 3)
    compared = audit.compare(rows, network, {"same": network, "blind": blind})
    assert compared["same"]["selected_minus_reference"] == {
        "value": 0,
        "low": 0,
        "high": 0,
        "standard_error": 0,
    }
    auc = compared["blind"]["auc_roc"]["value"]
    assert compared["blind"]["selected_minus_reference"]["value"] == pytest.approx(1 - auc)
    measured = audit.measure(audited(pictures, reads_the_lesion), SETTINGS)
    warned = warnings(found(measured, compared))
    assert any(text.startswith("same: the network is not significantly better") for text in warned)
    assert not any(text.startswith("blind") for text in warned)


def test_the_calibration_of_the_network_is_applied(pictures):
    rows, images, masks = pictures
    point = OperatingPoint(Calibration("logistic", slope=1.0, intercept=-2.0), 0.5, 0.5, 0.5)
    one = audit.Audited(rows, images, masks, reads_the_lesion, point)
    np.testing.assert_allclose(one.probability(images), point.calibration.apply(reads_the_lesion(images)))


def test_the_figure_has_a_row_for_each_variant_and_reference(pictures):
    rows, images, _ = pictures
    measured = audit.measure(audited(pictures, reads_the_lesion), SETTINGS)
    network, blind = by_image(reads_the_lesion(images)), by_image(np.full(NUM, 0.5))
    compared = audit.compare(rows, network, {"colour": blind})
    drawn: Figure = audit.figure(found(measured, compared), title="t", note="cohort toy")
    names = [label.get_text() for label in drawn.axes[0].get_yticklabels()]
    assert names == [*measured, "reference: lesion_size", "reference: colour"]
    assert "cohort toy" in drawn.get_supxlabel()


def test_without_masks_it_is_said_that_the_question_was_hardly_asked(pictures):
    without = audited((*pictures[:2], {}), reads_the_lesion)
    warned = warnings(found(audit.measure(without, SETTINGS), size=None))
    assert warned[0].startswith("no image has a mask")
    drawn = audit.figure(found(audit.measure(without, SETTINGS), size=None), title="t", note="n")
    assert "lesion" not in " ".join(label.get_text() for label in drawn.axes[0].get_yticklabels())


def test_a_reference_without_an_answer_for_some_images_is_compared_on_the_others(pictures):
    rows, images, _ = pictures
    network = by_image(reads_the_lesion(images))
    part = network.where(np.arange(NUM) >= 4)
    compared = audit.compare(rows, network, {"lesion_size": part, "colour": network})
    assert [entry["num_images"] for entry in compared.values()] == [NUM - 4, NUM]
    assert compared["lesion_size"]["selected_minus_reference"]["value"] == 0
    malignant_alone = network.where(rows["target"].to_numpy() == 1)
    for silent in (network * np.nan, malignant_alone):
        assert audit.compare(rows, network, {"lesion_size": silent}) == {}


def test_blocks_of_images_change_no_score(pictures, monkeypatch):
    whole = audit.measure(audited(pictures, reads_the_border), SETTINGS)
    monkeypatch.setattr(audit, "BLOCK", 5)
    assert audit.measure(audited(pictures, reads_the_border), SETTINGS) == whole


def test_images_of_a_group_are_drawn_together(pictures):
    rows, images, _ = pictures
    score, other = by_image(np.random.default_rng(3).random(NUM)), by_image(reads_the_lesion(images))
    narrow = audit.compare(rows, score, {"a": other})
    paired = rows.assign(group_id=[f"g{n // 6}" for n in range(NUM)])
    wide = audit.compare(paired, score, {"a": other})
    differences = [each["a"]["selected_minus_reference"] for each in (narrow, wide)]
    assert differences[0]["value"] == differences[1]["value"]
    assert differences[0]["low"] != differences[1]["low"]


def test_networks_and_references_are_compared_image_by_image_in_any_order(pictures):
    rows, images, _ = pictures
    network, other = by_image(reads_the_lesion(images)), by_image(np.random.default_rng(3).random(NUM))
    compared = audit.compare(rows, network, {"a": other})
    mixed = [score.sample(frac=1, random_state=seed) for seed, score in enumerate((network, other))]
    assert audit.compare(rows, mixed[0], {"a": mixed[1]}) == compared
    shuffled = audit.compare(rows.sample(frac=1, random_state=7), mixed[0], {"a": mixed[1]})
    assert shuffled["a"]["auc_roc"] == pytest.approx(compared["a"]["auc_roc"])


def test_a_reference_that_lacks_an_image_is_refused_and_one_of_the_same_part_is_not(pictures):
    rows, images, _ = pictures
    network = by_image(reads_the_lesion(images))
    with pytest.raises(DataError, match=r"The scores of a .* 1 images have no row \(i3\)"):
        audit.compare(rows, network, {"a": network.drop("i3")})
    audit.compare(rows.drop(3), network.drop("i3"), {"a": network.drop("i3")})


def test_each_mask_is_that_of_its_image_whatever_the_order_of_the_masks(pictures):
    rows, images, masks = pictures
    own = {name: np.roll(mask, number, axis=0) for number, (name, mask) in enumerate(masks.items())}
    one, other = (
        audited((rows, images, given), reads_the_lesion) for given in (own, dict(reversed(own.items())))
    )
    assert audit.measure(one, SETTINGS) == audit.measure(other, SETTINGS)
    black = next(variant for variant in audit.variants(one, SETTINGS) if variant.name == "lesion_black")
    assert (black.change(5)[own["i5"]] == 0).all()


def test_at_most_the_declared_number_of_images_is_changed_whatever_their_order(pictures):
    rows, images, masks = pictures
    few = SETTINGS.model_copy(update={"max_images": 10})
    measured = audit.measure(audited(pictures, reads_the_lesion), few)
    assert measured["plain"]["num_images"] == NUM
    assert measured["hair"]["num_images"] == measured["border_only"]["num_images"] == 10
    assert measured["lesion_black"]["num_images"] <= 10
    order = np.random.default_rng(0).permutation(NUM)
    shuffled = rows.iloc[order].reset_index(drop=True), images[order], masks
    again = audit.measure(audited(shuffled, reads_the_lesion), few)
    assert again["hair"]["flipped_fraction"] == measured["hair"]["flipped_fraction"]
    assert audit.measure(audited(pictures, reads_the_lesion), SETTINGS)["hair"]["num_images"] == NUM
