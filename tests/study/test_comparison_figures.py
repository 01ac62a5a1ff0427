import numpy as np
import pandas as pd

from melanoma.study import comparison_figures, paper_figures
from tests.study.toys import entry, network

TITLES = {"title": "toys", "note": "cohort toys"}


def labels(axes) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_the_roc_figure_has_a_line_a_seed_and_a_label_a_protocol():
    curves = pd.DataFrame(
        [
            {"protocol": protocol, "seed": seed, "false_positive_fraction": at, "sensitivity": at}
            for protocol in ("paper", "leak_free")
            for seed in (1, 2)
            for at in (0.0, 1.0)
        ]
    )
    figure = comparison_figures.roc_figure(curves, network(), **TITLES)
    [axes] = figure.axes
    assert len(axes.lines) == 1 + 4  # chance
    assert labels(axes) == [
        "chance",
        "ours, paper's protocol: AUC 0.900 (0.850 to 0.950)",
        "ours, leak-free: AUC 0.700 (0.650 to 0.750)",
    ]
    assert "not a medical device" in figure.get_supxlabel()


def test_the_epochs_figure_shows_training_and_validation_of_every_seed():
    history = pd.DataFrame(
        [
            {"protocol": protocol, "seed": seed, "epoch": epoch}
            | dict.fromkeys(("loss", "accuracy", "val_loss", "val_accuracy"), 0.5)
            for protocol in ("paper", "leak_free")
            for seed in (1, 2, 3)
            for epoch in (1, 2)
        ]
    )
    accuracy, loss = comparison_figures.history_figure(history, **TITLES).axes
    assert len(accuracy.lines) == len(loss.lines) == 2 * 3 * 2
    assert len(labels(loss)) == 4


def test_the_depth_figure_leaves_out_what_is_undefined_and_shows_the_printed_values():
    lacking = network(2)
    lacking["protocols"]["leak_free"]["views"]["test"]["sensitivity"] = entry(None)
    networks = {"conv_blocks_1": network(1), "conv_blocks_2": lacking}
    recall, *_, area = comparison_figures.depth_figure(
        paper_figures.load()["table_1"], networks, **TITLES
    ).axes
    printed, paper, ours = (np.asarray(line.get_xydata()) for line in recall.lines)
    assert printed[:, 1].tolist() == [0.853174, 0.903113, 0.970011, 0.910789, 0.811363]
    assert (len(paper), len(ours)) == (2, 1)
    assert len(area.lines) == 2  # the paper prints no AUC
