"""The usual six classes of the individual typology angle, which `checks.skin_tone` estimates."""

import numpy as np
import pandas as pd

EDGES = (-30.0, 10.0, 28.0, 41.0, 55.0)  # degrees; Del Bino and Bernerd, Br. J. Dermatol. 169 Suppl. 3 (2013)
NAMES = ("6 dark", "5 brown", "4 tan", "3 intermediate", "2 light", "1 very light")
PREFIX = "estimated from pixels: "  # stands before each class: light and camera confound it
UNKNOWN, RECORDED = "not measurable", "recorded: see skin_type"
CAVEAT = "estimated from pixels (individual typology angle); light and camera confound it"


def tone_classes(ita_degrees: pd.Series, skin_type: pd.Series) -> pd.Series:
    """The class of each angle; a recorded skin type comes before it.

    Args:
        ita_degrees: Estimated angles in degrees; one on an edge belongs to the darker class.
        skin_type: Recorded Fitzpatrick skin types, missing where none is recorded.

    Example:
        >>> tone_classes(pd.Series([55.0, 55.1, None]), pd.Series([None, "I", None])).tolist()
        ['estimated from pixels: 2 light', 'recorded: see skin_type', 'not measurable']
    """
    names = [PREFIX + name for name in NAMES]
    classes = pd.cut(ita_degrees.astype(float), [-np.inf, *EDGES, np.inf], labels=names)
    return classes.astype("string").fillna(UNKNOWN).mask(skin_type.notna(), RECORDED)
