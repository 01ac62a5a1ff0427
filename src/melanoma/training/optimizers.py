"""Optimizers whose learning rate differs by weight: smaller in earlier stages, 0 until a stage is unfrozen.

Both are functions of the weight and the number of the step alone, so that a resumed training needs no other
state than that of the optimizer.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
from keras import ops


class Rate(NamedTuple):
    """How the learning rate of a weight follows that of the optimizer."""

    factor: float
    first_step: int  # steps before this one leave the weight as it is


class _RatePerWeight:
    """Adds to an optimizer of Keras a `Rate` for each weight; the decay of weights follows it too."""

    def __init__(
        self, learning_rate: Any, *, rates: Sequence[Rate], weight_decay: float | None, **options: Any
    ) -> None:
        """An optimizer that is not built yet.

        Args:
            learning_rate: As in Keras.
            rates: One for each weight, in the order in which the optimizer is built for them.
            weight_decay: As in Keras, which would take no account of `rates`.
            **options: Other arguments of the optimizer.
        """
        base: Any = super()
        base.__init__(learning_rate, weight_decay=None, **options)
        self.rates, self.decay = tuple(rates), weight_decay

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """One step of one weight."""
        optimizer: Any = super()
        this: Any = self
        factor, first_step = self.rates[this._get_variable_index(variable)]
        rate = ops.cast(learning_rate * factor, variable.dtype)
        if first_step:
            rate = ops.where(this.iterations < first_step, ops.zeros_like(rate), rate)
        if self.decay and this._use_weight_decay(variable):
            this.assign_sub(variable, variable * self.decay * rate)
        optimizer.update_step(gradient, variable, rate)


class Adam(_RatePerWeight, keras.optimizers.Adam):
    """Adam, with a `Rate` for each weight."""


class SGD(_RatePerWeight, keras.optimizers.SGD):
    """SGD, with a `Rate` for each weight."""
