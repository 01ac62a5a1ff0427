import hashlib

import numpy as np
import pandas as pd
import pytest

from melanoma.data.packed import Part
from melanoma.errors import DataError
from melanoma.evaluation import sheets
from melanoma.schema import NOT_A_DEVICE

ROWS = pd.DataFrame(
    {
        "image_id": list("abcdefgh"),
        "target": [1, 1, 1, 0, 0, 0, 0, 1],
        "probability": [0.9, 0.3, 0.05, 0.1, 0.95, 0.6, 0.2, 0.4],
    }
)
IMAGES = (np.arange(8)[:, None, None, None] * np.ones((8, 6, 6, 3))).astype(np.uint8)


def part(images: np.ndarray) -> Part:
    return Part(images, np.arange(8), np.array(ROWS["target"]), image_ids=np.array(ROWS["image_id"]))


def shown(figure) -> list[tuple[str, int]]:
    """Caption and pixel value of each picture that is shown."""
    return [
        (axes.get_title(), int(np.asarray(axes.get_images()[0].get_array())[0, 0, 0]))
        for axes in figure.axes
        if axes.get_images()
    ]


def test_errors_come_surest_first_on_either_side_of_the_threshold():
    # at 0.4: e is 0.55 of 0.6 into positive, c 0.35 of 0.4 into negative, f 0.2 of 0.6, b 0.1 of 0.4
    assert sheets.most_confident_errors(ROWS, threshold=0.4, num=10).tolist() == [4, 2, 5, 1]
    assert sheets.most_confident_errors(ROWS, threshold=0.4, num=2).tolist() == [4, 2]


def test_an_image_at_the_threshold_is_called_malignant():
    assert 7 not in sheets.most_confident_errors(ROWS, threshold=0.4, num=10)
    assert 7 in sheets.most_confident_errors(ROWS, threshold=0.41, num=10)


@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_thresholds_at_the_ends_are_no_error(threshold):
    sheets.most_confident_errors(ROWS, threshold=threshold, num=10)


def test_the_error_sheet_shows_each_image_under_its_id_truth_and_probability():
    figure = sheets.error_sheet(ROWS, part(IMAGES), threshold=0.4, num=2, title="t", note="cohort toy")
    assert shown(figure) == [("e\nnegative, probability 0.950", 4), ("c\npositive, probability 0.050", 2)]
    assert figure.get_supxlabel() == f"cohort toy · {NOT_A_DEVICE}"


def test_each_image_stands_under_its_own_caption_whatever_the_order_and_the_rest_of_the_rows():
    mixed = ROWS[ROWS["image_id"] != "e"].sample(frac=1, random_state=1)
    figure = sheets.error_sheet(mixed, part(IMAGES), threshold=0.4, num=8, title="t", note="n")
    assert {caption[0]: value for caption, value in shown(figure)} == {"c": 2, "f": 5, "b": 1}


def test_images_that_are_not_there_are_refused_by_name():
    others = ROWS.assign(image_id=["x", *ROWS["image_id"][1:]], probability=[0.0, *ROWS["probability"][1:]])
    with pytest.raises(DataError, match=r"1 of 5 images are not among the 8 packed images: x\."):
        sheets.error_sheet(others, part(IMAGES), threshold=0.4, num=8, title="t", note="n")


def test_a_sheet_without_errors_says_so():
    right = ROWS.assign(probability=ROWS["target"].astype(float))
    figure = sheets.error_sheet(right, part(IMAGES), threshold=0.5, num=4, title="t", note="n")
    assert shown(figure) == []
    assert figure.axes[0].texts[0].get_text() == "no images"


def test_the_choice_of_images_depends_on_ids_and_classes_only():
    chosen = sheets.fixed_choice(ROWS, num=4)
    ids = ROWS["image_id"].to_numpy()[chosen]
    assert sorted(ROWS["target"].to_numpy()[chosen]) == [0, 0, 1, 1]
    hashed = sorted(ROWS["image_id"], key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    positive = [name for name in hashed if name in "abch"]
    assert ids[:2].tolist() == positive[:2]
    shuffled = ROWS.sample(frac=1, random_state=3).assign(probability=0.5)
    again = shuffled["image_id"].to_numpy()[sheets.fixed_choice(shuffled, num=4)]
    assert again.tolist() == ids.tolist()


def test_a_class_with_too_few_images_gives_those_it_has():
    few = ROWS[ROWS["image_id"].isin(["a", "d", "e", "f"])]
    assert len(sheets.fixed_choice(few, num=6)) == 1 + 3


def brightness_of_a_corner(images: np.ndarray) -> np.ndarray:
    return images[:, :8, :8].reshape(len(images), -1).mean(1) / 255


def test_the_explanation_sheet_shows_image_and_overlay_in_turn():
    noisy = np.random.default_rng(1).integers(0, 255, (8, 32, 32, 3)).astype(np.uint8)
    figure = sheets.explanation_sheet(ROWS, part(noisy), brightness_of_a_corner, num=2, title="t", note="n")
    captions = [caption for caption, _ in shown(figure)]
    assert len(captions) == 4
    assert captions[1] == captions[3] == "red: covering it lowers the score"
    first = ROWS["image_id"].to_numpy()[sheets.fixed_choice(ROWS, num=2)[0]]
    assert captions[0].startswith(first)
