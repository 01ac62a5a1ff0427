from melanoma.evaluation import published, study_words
from tests.evaluation.study_toys import network, result

FIGURES = published.load()
CHECKED = {"published": FIGURES} | published.check(FIGURES, tolerance=1e-4)


def page(**results: dict) -> str:
    return study_words.page(CHECKED, results)


def test_the_protocol_is_said_to_add_what_the_difference_says():
    text = page(ph2=result("ph2"))
    assert (
        "AUC 0.900 (0.850 to 0.950) under the paper's protocol and 0.700 (0.650 to 0.750) leak-free" in text
    )
    assert "the protocol alone adds 0.200 (0.150 to 0.250), more than chance" in text
    assert "15 (38%) have a relative in training or validation, and 12 are made" in text


def test_all_that_differs_between_the_protocols_is_told():
    text = page(ph2=result("ph2"))
    assert "benign images are given up" in text
    assert "no difference here is of the leak alone" in text.replace("\n", " ")


def test_a_difference_whose_interval_holds_zero_may_be_chance():
    text = page(ph2=result("ph2", {"conv_blocks_3": network(paper=0.72, ours=0.7)}))
    assert "which may be chance" in text
    assert "more than chance" not in text


def test_the_best_depth_is_named_with_those_it_cannot_be_told_from():
    networks = {
        "conv_blocks_1": network(1, paper=0.5),
        "conv_blocks_2": network(2, paper=0.95),
        "conv_blocks_3": network(3, paper=0.9),
    }
    text = page(ph2=result("ph2", networks))
    assert "F1 is highest with 2, 0.950 (0.900 to 1.000); with 3 it is 0.900 (0.850 to 0.950)" in text
    assert "overlap with the best one's: 3." in text


def test_contradictions_and_the_counts_that_fit_are_told():
    text = page()
    assert "21 of 35 checks fail" in text
    assert "258 malignant images found and 52 missed, 213 benign ones let go and 7 not" in text
    assert "joint: no confusion matrix of 570 images gives its four figures" in text


def test_few_seeds_and_synthetic_images_are_said():
    text = page(sample=result("sample", {"conv_blocks_3": network(num=2)}) | {"is_synthetic": True})
    assert "**synthetic images**" in text
    assert "Fewer than 3 networks" in text
    assert "sample, conv_blocks_3, paper; sample, conv_blocks_3, leak_free." in text
    assert "Fewer than 3" not in page(ph2=result("ph2"))


def test_both_networks_of_table_3_are_compared_when_both_are_there():
    both = {"conv_blocks_3": network(), "vgg16_5": network(5, family="vgg16", ours=0.8)}
    assert "## Against VGG-16" in page(isic=result("isic", both))
    assert "## Against VGG-16" not in page(isic=result("isic"))
    for one in both.values():
        del one["protocols"]["paper"]
        del one["paper_minus_leak_free"]
    text = page(isic=result("isic", both))
    assert "ours, leak-free: AUC three blocks" in text
    assert "ours, protocol of the paper: AUC" not in text
