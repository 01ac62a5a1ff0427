"""The end that all networks share: from the last picture to the probability; and where it is cut off."""

from typing import Any

import keras


def classify(picture: Any, *, dense_units: int, dropout: float, global_pooling: bool) -> Any:
    """One dense layer with ReLU, one unit with a sigmoid.

    Args:
        picture: Symbolic tensor `(batch, height, width, channels)`.
        dense_units: Width of the dense layer.
        dropout: Fraction of the dense layer's outputs that training drops, in [0, 1); 0 adds no layer.
        global_pooling: Average each channel over the picture, instead of flattening it.

    Returns:
        Symbolic tensor `(batch, 1)`, the probability that the lesion is malignant; float32 in mixed
        precision too, because 16 bits round probabilities near 1 to it.
    """
    if global_pooling:
        hidden = keras.layers.GlobalAveragePooling2D(name="global_pool")(picture)
    else:
        hidden = keras.layers.Flatten(name="flatten")(picture)
    hidden = keras.layers.Dense(dense_units, activation="relu", name="dense")(hidden)
    if dropout:
        hidden = keras.layers.Dropout(dropout, name="dropout")(hidden)
    return keras.layers.Dense(1, activation="sigmoid", dtype="float32", name="probability")(hidden)


def cut(network: keras.Model) -> tuple[keras.Model, keras.Model]:
    """What comes before the dense layer, from images to features `(batch, n)`, and the rest.

    Both share their layers with `network`: to train one of them is to train it.
    """
    features = network.get_layer("dense").input
    return keras.Model(network.inputs, features), keras.Model(features, network.outputs)
