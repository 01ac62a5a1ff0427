"""A small study with numbers that one can follow: the paper's protocol finds more than the leak-free one."""

from typing import Any

METRICS = (
    "accuracy",
    "balanced_accuracy",
    "sensitivity",
    "specificity",
    "ppv",
    "npv",
    "f1_score",
    "auc_roc",
    "log_loss",
)


def entry(value: float | None, *, margin: float = 0.05) -> dict[str, Any]:
    """A metric with its interval; null = undefined."""
    if value is None:
        return {"value": None, "low": None, "high": None, "by_seed": [None]}
    return {"value": value, "low": value - margin, "high": value + margin, "by_seed": [value] * 3}


def view(value: float | None, *, num_images: int = 40, num_malignant: int = 20) -> dict[str, Any]:
    counts = {
        "num_images": num_images,
        "num_malignant": num_malignant,
        "num_malignant_groups": num_malignant - 1,  # two images are of one lesion
        "num_benign_groups": num_images - num_malignant - 1,
    }
    return counts | {name: entry(value) for name in METRICS}


def network(
    depth: int = 3, *, family: str = "conv_blocks", paper: float = 0.9, ours: float = 0.7, num: int = 3
) -> dict:
    runs = {
        protocol: [
            {
                "seed": seed,
                "git_commit": "c" * 40,
                "git_dirty": "False",
                "best_epoch": 10 * seed,
                "best_val_auc_roc": value,
            }
            for seed in range(1, num + 1)
        ]
        for protocol, value in (("paper", paper - 0.1), ("leak_free", ours - 0.2))
    }
    counts = {"true_positives": 19, "false_negatives": 1, "false_positives": 2, "true_negatives": 18}
    return {
        "family": family,
        "depth": depth,
        "is_frozen": family == "vgg16",
        "minus_main": {} if depth == 3 else {"paper": view(paper - 0.9), "leak_free": view(ours - 0.7)},
        "protocols": {
            "paper": {
                "views": {
                    "test": view(paper),
                    "test_with_relatives": view(paper + 0.05, num_images=15, num_malignant=15),
                    "test_without_relatives": view(ours, num_images=25, num_malignant=5),
                },
                "confusion": {"1": counts, "2": counts},
                "runs": runs["paper"],
            },
            "leak_free": {
                "views": {
                    "test": view(ours, num_malignant=8),
                    "test_balanced_by_copies": view(ours + 0.02),
                },
                "confusion": {"1": counts | {"true_positives": 5, "false_negatives": 3}},
                "runs": runs["leak_free"],
            },
        },
        "paper_minus_leak_free": {
            "test": view(paper - ours),
            "test_balanced_by_copies": view(paper - ours - 0.02),
        },
    }


def result(cohort: str, networks: dict[str, Any] | None = None) -> dict[str, Any]:
    side = {
        "num_images": 40,
        "num_malignant": 20,
        "num_copies": 12,
        "num_groups": 30,
        "num_with_relative": 15,
    }
    free = {"num_images": 40, "num_malignant": 8, "num_copies": 0, "num_groups": 40, "num_with_relative": 0}
    return {
        "cohort": cohort,
        "is_synthetic": False,
        "data_digest": "d" * 64,
        "git_commit": "c" * 40,
        "max_num_epochs": 100,
        "patience": 15,
        "seeds": [1, 2, 3],
        "threshold": 0.5,
        "protocols": {
            "paper": {"train": side, "validation": side, "test": side},
            "leak_free": {"train": free, "validation": free, "test": free},
        },
        "networks": networks or {"conv_blocks_3": network()},
    }
