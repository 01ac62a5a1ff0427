"""How much `bench_train` measures: in earnest, or only to see that it runs."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """Amounts.

    Attributes:
        num_images: Of an epoch, in rounds of training.
        image_size: Pixels.
        num_rounds: Of everything that is repeated.
        num_jax_images: As `num_images`, for JAX on a CPU, which is slow.
        pack_images: At most, of full-size originals.
        pack_repeats: How often each of them is packed.
        pack_rounds: Of `pack`.
        num_trials: Of the study.
        trial_images: Of all its splits together.
        trial_epochs: At most, of a trial; `None` takes `tune.num_epochs` of params.yaml.
        growth: Numbers of packed images.
        growth_steps: Of a round of training on each.
    """

    num_images: int
    image_size: int
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
