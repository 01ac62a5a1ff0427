"""Keras' own way from a folder of JPEG files into training, as its guides write it."""

from pathlib import Path

import keras
import tensorflow as tf  # type: ignore[import-untyped]

from melanoma.config.training import Augment


def folder_dataset(
    folder: Path, amounts: Augment, *, image_size: int, batch_size: int, is_cached: bool
) -> tf.data.Dataset:
    """Batches of decoded, augmented images, prefetched.

    Args:
        folder: A folder a class, with JPEG files.
        amounts: As for our warps.
        image_size: Side of the square that images are resized to, pixels.
        batch_size: Images in a batch.
        is_cached: Keep decoded images in memory after the first epoch, before they are augmented.
    """
    dataset = keras.utils.image_dataset_from_directory(
        folder,
        label_mode="binary",
        image_size=(image_size, image_size),
        batch_size=batch_size,
        seed=1,
        verbose=False,
    )
    if is_cached:
        dataset = dataset.cache()
    layers = augmentation(amounts)
    dataset = dataset.map(
        lambda images, target: (layers(images), target), num_parallel_calls=tf.data.AUTOTUNE
    )
    return dataset.prefetch(tf.data.AUTOTUNE)


def augmentation(amounts: Augment) -> keras.Sequential:
    """Our amounts in Keras' layers."""
    return keras.Sequential(
        [
            keras.layers.RandomFlip("horizontal_and_vertical"),
            keras.layers.RandomRotation(amounts.rotation_degrees / 360),
            keras.layers.RandomTranslation(
                amounts.vertical_shift_fraction, amounts.horizontal_shift_fraction
            ),
            keras.layers.RandomZoom(amounts.zoom_fraction),
        ]
    )
