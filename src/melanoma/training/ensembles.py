"""Which networks of a model are trained: those whose mean is served, and those that judge its recipe.

A recipe is judged by networks on training groups that they did not learn from, the same groups for every
recipe. The mean of several networks is never judged so: each training group was learned by one of them.
"""

from dataclasses import dataclass

import numpy as np

from melanoma.config.training import Hyperparameters, Train


@dataclass(frozen=True)
class Member:
    """A network to train.

    Attributes:
        seed: Seed of initial weights, order of images and augmentation.
        fold: Fold of the training groups that is held out; None to learn from all of them.
        is_served: Whether it is one of the networks whose mean is served.
        is_judge: Whether its scores on the held-out fold judge the recipe.
    """

    seed: int
    fold: int | None
    is_served: bool
    is_judge: bool

    @property
    def name(self) -> str:
        """Name of its checkpoint, unique among the members of a model."""
        return f"seed{self.seed}" + ("-all" if self.fold is None else "")


def num_folds(train: Train) -> int:
    """The folds that the networks of stage `train` hold out in turn; all models share them.

    An ensemble over folds has one network for each fold.
    """
    is_over_folds = train.ensemble == "folds" and train.num_networks > 1
    return train.num_networks if is_over_folds else train.num_folds


def members(hyperparameters: Hyperparameters, train: Train, *, num_networks: int) -> list[Member]:
    """All networks of a model; those that are served come first.

    The judges have the seeds from `train.seed` on and hold the folds out in turn. Where nothing is chosen
    while training (`keep_epoch: last`) and the ensemble is over seeds, the served networks learn from all
    training groups and the judges are networks of their own. Otherwise the first judges are served.

    Args:
        hyperparameters: Hyperparameters of the model.
        train: Settings of the stage.
        num_networks: Number of networks whose mean is served.
    """
    over, is_over_folds = num_folds(train), train.ensemble == "folds" and num_networks > 1
    serves_judges = hyperparameters.keep_epoch == "best" or is_over_folds
    seeds = range(train.seed, train.seed + train.num_seeds)
    judges = [
        Member(seed, at % over, is_served=serves_judges and at < num_networks, is_judge=True)
        for at, seed in enumerate(seeds)
    ]
    if serves_judges:
        return judges
    return [Member(seed, None, is_served=True, is_judge=False) for seed in seeds[:num_networks]] + judges


def mean_of_logits(probabilities: np.ndarray) -> np.ndarray:
    """The probabilities of an ensemble: the sigmoid, or the softmax, of the mean of the networks' logits.

    Args:
        probabilities: Shape `(num_networks, n, 1)` of one output, or `(num_networks, n, num_classes)`.

    Returns:
        Shape `(n, 1)` or `(n, num_classes)`, float64.
    """
    safe = np.clip(probabilities.astype(np.float64), 1e-12, 1.0)
    if safe.shape[-1] == 1:
        safe = np.concatenate([safe, np.clip(1 - probabilities.astype(np.float64), 1e-12, 1.0)], axis=-1)
    mean = np.exp(np.log(safe).mean(axis=0))
    mean /= mean.sum(axis=-1, keepdims=True)
    return mean if probabilities.shape[-1] > 1 else mean[:, :1]
