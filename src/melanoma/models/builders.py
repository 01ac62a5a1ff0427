"""The table of network families; add a module and a line here."""

from collections.abc import Callable

import keras

from melanoma.models import conv_blocks

BUILDERS: dict[str, Callable[..., keras.Model]] = {"conv_blocks": conv_blocks.build}
