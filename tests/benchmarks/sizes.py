"""How much `bench_train` measures: full size for figures, or a quick run that only shows that it works."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """Amounts.

    Attributes:
        num_images: Number of images per epoch.
        image_size: Height and width of images in pixels.
        backbone_size: Height and width for the network of section `backbone`.
        num_rounds: Number of repetitions.
        num_jax_images: Number of images per epoch for JAX, which is slow on a CPU.
        pack_images: Maximum number of full-size originals.
        pack_repeats: Number of times that each of them is packed.
        pack_rounds: Number of repetitions of `pack`.
        num_trials: Number of trials of the hyperparameter search.
        trial_images: Number of images in all splits together.
        trial_epochs: Maximum number of epochs of a trial; `None` takes `tune.num_epochs` of params.yaml.
        growth: Numbers of packed images.
        growth_steps: Number of training steps on each of them.
    """

    num_images: int
    image_size: int
    backbone_size: int
    num_rounds: int
    num_jax_images: int
    pack_images: int
    pack_repeats: int
    pack_rounds: int
    num_trials: int
    trial_images: int
    trial_epochs: int | None
    growth: tuple[int, ...]
    growth_steps: int


FULL = Size(
    num_images=384,
    image_size=150,
    backbone_size=224,
    num_rounds=5,
    num_jax_images=128,
    pack_images=100,
    pack_repeats=5,
    pack_rounds=4,
    num_trials=20,
    trial_images=100,
    trial_epochs=None,
    growth=(1_000, 5_000, 50_000),
    growth_steps=12,
)
QUICK = Size(
    num_images=64,
    image_size=46,
    backbone_size=64,
    num_rounds=1,
    num_jax_images=32,
    pack_images=4,
    pack_repeats=2,
    pack_rounds=1,
    num_trials=3,
    trial_images=60,
    trial_epochs=2,
    growth=(100, 200),
    growth_steps=2,
)
