"""The dense end that all networks share, and the split of a network before it."""

from typing import Any

import keras


def classify(
    picture: Any, *, dense_units: int, dropout: float, global_pooling: bool, num_classes: int = 1
) -> Any:
    """Optionally one dense layer with ReLU, then one unit with a sigmoid or several with a softmax.

    Args:
        picture: Symbolic tensor `(batch, height, width, channels)`.
        dense_units: Width of the dense layer; 0 adds none.
        dropout: Fraction of the last layer's inputs that training drops, in [0, 1); 0 adds no layer.
        global_pooling: Average each channel over the picture, instead of flattening it.
        num_classes: 1, or how many classes are told apart.

    Returns:
        Symbolic tensor `(batch, 1)`, the probability that the lesion is positive, or `(batch, num_classes)`,
        that of each class; float32 in mixed precision too, because 16 bits round probabilities near 1 to it.
    """
    if global_pooling:
        hidden = keras.layers.GlobalAveragePooling2D(name="global_pool")(picture)
    else:
        hidden = keras.layers.Flatten(name="flatten")(picture)
    if dense_units:
        hidden = keras.layers.Dense(dense_units, activation="relu", name="dense")(hidden)
    if dropout:
        hidden = keras.layers.Dropout(dropout, name="dropout")(hidden)
    if num_classes > 1:
        softmax = keras.layers.Dense(num_classes, activation="softmax", dtype="float32", name="diagnosis")
        return softmax(hidden)
    return keras.layers.Dense(1, activation="sigmoid", dtype="float32", name="probability")(hidden)


def before(network: keras.Model) -> list[keras.Layer]:
    """The layers up to the pooled features, in their order."""
    names = [layer.name for layer in network.layers]
    last = names.index("global_pool" if "global_pool" in names else "flatten")
    return network.layers[: last + 1]


def cut(network: keras.Model) -> tuple[keras.Model, keras.Model]:
    """What comes before the head, from images to pooled features `(batch, n)`, and the rest.

    Both share their layers with `network`: to train one of them is to train it.
    """
    features = before(network)[-1].output
    return keras.Model(network.inputs, features), keras.Model(features, network.outputs)


def pooled_features(network: keras.Model) -> Any:
    """What the head of `network` takes, symbolic, `(batch, n)`: the mean of each channel over the picture.

    A network that flattens its last picture has many more numbers there; they are averaged too.
    """
    features = cut(network)[0]
    last = features.layers[-1]
    if isinstance(last, keras.layers.Flatten):
        return keras.layers.GlobalAveragePooling2D(name="pooled", dtype="float32")(last.input)
    return features.output
