import numpy as np
import pytest

from melanoma.training.fit import Arrays, FitSettings


@pytest.fixture(scope="session")
def bright_or_dark():
    """24 training and 12 validation images of 24 px: malignant ones are dark. Learnt in a few epochs."""
    generator = np.random.default_rng(0)

    def draw(number: int) -> tuple[np.ndarray, np.ndarray]:
        targets = (np.arange(number) % 3 == 0).astype(np.float32)
        level = np.where(targets == 1, 60, 190)[:, None, None, None]
        noise = generator.integers(-40, 40, (number, 24, 24, 3))
        return (level + noise).clip(0, 255).astype(np.uint8), targets

    return Arrays(*draw(24), *draw(12))


@pytest.fixture
def settings():
    return FitSettings(
        num_epochs=4, batch_size=8, balance_classes=True, monitor="val_loss", patience=4, seed=5
    )
