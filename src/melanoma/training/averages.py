"""Exponential moving average (EMA) of a network's weights, taken in every training step.

Keras's own (`use_ema` of its optimizers) averages trainable weights only, so that averaged weights would run
with the statistics of batch normalisation that belong to the last ones, and it overwrites the weights when
`fit` ends. Here all weights are averaged, moving means and variances too, as EfficientNet's authors do
(Tan and Le, ICML 2019, arXiv:1905.11946), and training goes on with the weights themselves.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
from keras import ops

from melanoma.training import checkpoints


class AveragedModel(keras.Model):
    """A network around which its weights are averaged; only for fitting.

    The average after step t is that of the weights with which the steps 1 … t began, where a step counts
    `momentum` times as much as the one after it. It is divided by the sum of these weights (as the moments of
    Adam are), so that a short training is not pulled towards its initial weights.
    """

    def __init__(self, network: keras.Model, momentum: float) -> None:
        """Begin with the present weights of `network`.

        Args:
            network: Network, built; it shares its weights.
            momentum: Above 0, below 1.
        """
        super().__init__(name=network.name, dtype="float32")  # averages of 16 bits would stand still
        self.network, self.momentum = network, momentum
        self.averages = [  # of copies: JAX refuses variables that share an array
            keras.Variable(weight, dtype="float32", trainable=False)
            for weight in checkpoints.values(network.weights)
        ]
        self.total = keras.Variable(0.0, dtype="float32", trainable=False)  # 1 - momentum ** steps

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Outputs of the network; in training the average takes one step."""
        outputs = self.network(inputs, training=training)
        if training:
            self._take_step()
        return outputs

    def _take_step(self) -> None:
        total = self.momentum * self.total + (1 - self.momentum)
        self.total.assign(total)
        share = (1 - self.momentum) / total
        for average, weight in zip(self.averages, self.network.weights, strict=True):
            present = ops.stop_gradient(ops.cast(weight, "float32"))
            average.assign(average + share * (present - average))

    @property
    def state(self) -> list[keras.Variable]:
        """All that a resumed training needs of the average."""
        return [*self.averages, self.total]

    @contextmanager
    def swapped_in(self) -> Iterator[None]:
        """Inside, the network has the averaged weights; afterwards its own again."""
        own = checkpoints.values(self.network.weights)
        checkpoints.assign(self.network.weights, checkpoints.values(self.averages))
        try:
            yield
        finally:
            checkpoints.assign(self.network.weights, own)
