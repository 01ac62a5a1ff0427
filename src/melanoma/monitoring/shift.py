"""Whether the images of a window are shifted against a reference: one test over all features.

The effect of a feature is the probability that a row of the window has a higher value than a row of the
reference, minus 0.5; ties count half (Mann and Whitney). It equals the difference of the mean midranks
divided by the number of rows, so only the order of values counts. Divided by its root mean square over
permutations it is the standardised rank difference. The test statistic is the largest absolute one of all
features.

Images of a group (patient) are not independent, so groups are permuted and the images of a group stay
together. All permutations have the same number of groups that are only in the window. A group on both sides
stays on both sides: its rows of the window and its rows of the reference change places with probability 1/2.

Without a shift the p-value is exact: groups of both sides, and both parts of a group on both sides, then
come from one population. This includes the number of rows of a group. Where these numbers differ between
the sides, rows are left out at random, see `group_parts`. In 1,000 simulations without a shift (80 and 40
groups), a test at 0.05 alarmed in 0.040 if groups had 10 to 20 rows in the reference and one in the window,
in 0.045 with 6 to 12 and 1 to 3 rows, in 0.061 with these numbers exchanged, and in 0.058 if the groups of
the window were also in the reference, with 10 to 20 rows there and one in the window. With all rows: 0.067,
0.051, 0.026 and 0.001.

Source: Westfall and Young, Resampling-based multiple testing, 1993 (single-step maximum); Phipson and Smyth,
Permutation p-values should never be zero, 2010.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from melanoma.files import as_json
from melanoma.monitoring.group_parts import GroupIds, GroupParts

NUM_EXCEEDANCES = 20  # expected number of permutations beyond the critical value


@dataclass(frozen=True)
class Feature:
    """Shift of one feature.

    Attributes:
        name: Column of the frames.
        effect: Probability that a row of the window exceeds a row of the reference, minus 0.5, among the rows
            compared. It ranges from -0.5 to 0.5 and is nan if a side has no values.
        standardised_difference: `effect` divided by its root mean square over permutations; nan if the
            feature was not tested.
        adjusted_p_value: Fraction of permutations, the observed one included, in which the largest absolute
            standardised difference of all features is at least that of this feature; nan if the feature was
            not tested.
        is_shifted: Whether `adjusted_p_value` is at most the level and the absolute effect at least the
            minimum.
        undefined: Why the feature was not tested; empty if it was.
    """

    name: str
    effect: float
    standardised_difference: float
    adjusted_p_value: float
    is_shifted: bool
    undefined: str


@dataclass(frozen=True)
class Shift:
    """Result of `compare`.

    Attributes:
        p_value: Smallest adjusted p-value of all features; nan if `undefined`.
        level: Largest p-value that counts as a shift, `alpha / num_windows`.
        is_alarm: Whether some feature is shifted.
        features: One entry for each column of the reference, in its order.
        num_permutations: Number of random permutations; 0 if `undefined`.
        num_groups_reference: Number of groups with rows in the reference.
        num_groups_window: Number of groups with rows in the window.
        num_groups_in_both: Number of groups with rows in both, which both other numbers include.
        num_rows_reference: Number of rows of the reference.
        num_rows_window: Number of rows of the window.
        num_rows_left_out: Number of rows of both sides that were left out at random, so that groups have as
            many rows on one side as on the other.
        undefined: Why there is no p-value; empty if there is one.
    """

    p_value: float
    level: float
    is_alarm: bool
    features: tuple[Feature, ...]
    num_permutations: int
    num_groups_reference: int
    num_groups_window: int
    num_groups_in_both: int
    num_rows_reference: int
    num_rows_window: int
    num_rows_left_out: int
    undefined: str

    def to_dict(self) -> dict[str, Any]:
        """The result for JSON: `features` becomes a list of objects, nan becomes None."""
        return as_json(asdict(self))


def compare(
    reference: pd.DataFrame,
    window: pd.DataFrame,
    groups_reference: GroupIds,
    groups_window: GroupIds,
    *,
    alpha: float,
    num_windows: int,
    min_effect: float,
    seed: int,
    num_permutations: int | None = None,
) -> Shift:
    """Test whether the window is shifted against the reference.

    Args:
        reference: One row per image, one numeric or boolean column per feature. A missing value is left out
            for its feature only.
        window: As `reference`, with the same columns in any order.
        groups_reference: Group of each row of the reference, shape `(num_rows,)`, none missing.
        groups_window: Group of each row of the window.
        alpha: Probability of a false alarm in any of the windows, in (0, 1).
        num_windows: Declared number of windows, at least 1.
        min_effect: Smallest absolute effect that is worth an alarm, from 0 to 0.5. The effect of a rate is
            half the difference of the rates.
        seed: Seed of the permutations and of the rows left out, at least 0.
        num_permutations: Number of random permutations, at least `min_permutations(alpha, num_windows)`,
            which is the default.

    Returns:
        The result. If a side has no rows, no feature varies, or there are too few groups for the level, there
        is no p-value and no alarm, and `undefined` says why.

    Raises:
        ValueError: An argument is out of range, the columns differ or are not numeric, or the groups do not
            match the rows.
    """
    least = min_permutations(alpha, num_windows)
    num_permutations = least if num_permutations is None else num_permutations
    if num_permutations < least:
        raise ValueError(f"num_permutations must be at least {least} at this level, got {num_permutations}")
    if not 0 <= min_effect <= 0.5:
        raise ValueError(f"min_effect must be from 0 to 0.5, got {min_effect}")
    _require_same_features(reference, window)
    generator = np.random.default_rng(seed)
    parts = GroupParts.of(reference, window, groups_reference, groups_window, generator)
    level = alpha / num_windows
    observed = parts.effects(parts.is_window[np.newaxis])
    undefined = parts.undefined(level)
    drawn = (
        np.empty((0, observed.shape[1])) if undefined else parts.permuted_effects(num_permutations, generator)
    )
    effects = np.concatenate([observed, drawn])  # the observed arrangement is one of the permutations
    spread = np.sqrt(np.mean(np.nan_to_num(effects) ** 2, axis=0))
    num_values = (parts.counts[~parts.is_window].sum(axis=0), parts.counts[parts.is_window].sum(axis=0))
    reasons = [undefined or _why_untested(*numbers) for numbers in zip(*num_values, spread, strict=True)]
    is_tested = np.array([not reason for reason in reasons])
    undefined = undefined or ("" if is_tested.any() else "no feature varies between groups")
    standardised, adjusted = np.full((2, len(spread)), np.nan)
    if not undefined:
        differences = np.nan_to_num(effects[:, is_tested]) / spread[is_tested]
        standardised[is_tested], adjusted[is_tested] = differences[0], _adjusted_p_values(differences)
    is_shifted = (adjusted <= level) & (np.abs(observed[0]) >= min_effect)
    columns = (reference.columns, observed[0], standardised, adjusted, is_shifted, reasons)
    return Shift(
        p_value=math.nan if undefined else float(np.nanmin(adjusted)),
        level=level,
        is_alarm=bool(is_shifted.any()),
        features=tuple(
            Feature(str(name), float(effect), float(difference), float(p_value), bool(is_one), reason)
            for name, effect, difference, p_value, is_one, reason in zip(*columns, strict=True)
        ),
        num_permutations=0 if undefined else num_permutations,
        num_groups_reference=int((~parts.is_window).sum()),
        num_groups_window=int(parts.is_window.sum()),
        num_groups_in_both=int(parts.is_in_both.sum()) // 2,
        num_rows_reference=len(reference),
        num_rows_window=len(window),
        num_rows_left_out=parts.num_left_out,
        undefined=undefined,
    )


def min_permutations(alpha: float, num_windows: int) -> int:
    """Number of permutations of which `NUM_EXCEEDANCES` are expected beyond the critical value.

    Raises:
        ValueError: `alpha` is not in (0, 1), or `num_windows` is below 1.

    >>> min_permutations(0.05, 12)
    4800
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must be in (0, 1), got {alpha}")
    if num_windows < 1:
        raise ValueError(f"num_windows must be at least 1, got {num_windows}")
    return math.ceil(NUM_EXCEEDANCES * num_windows / alpha)


def _require_same_features(reference: pd.DataFrame, window: pd.DataFrame) -> None:
    names = list(reference.columns)
    if not names or len(set(names)) < len(names):
        raise ValueError(f"the reference needs columns with different names, got {names}")
    if len(names) != len(window.columns) or set(names) != set(window.columns):
        raise ValueError(f"columns differ: {names} in the reference, {list(window.columns)} in the window")
    for side, frame in (("reference", reference), ("window", window)):
        kinds = dict(frame.dtypes) if len(frame) else {}
        others = [name for name in names if name in kinds and not pd.api.types.is_numeric_dtype(kinds[name])]
        if others:
            raise ValueError(f"columns of the {side} are not numeric: {others}")


def _adjusted_p_values(differences: np.ndarray) -> np.ndarray:
    """Adjusted p-value of each feature, shape `(num_features,)`; see `Feature`.

    Args:
        differences: Standardised differences, shape `(num_permutations, num_features)`; the first row is the
            observed one.
    """
    largest = np.sort(np.abs(differences).max(axis=1))
    num_below = np.searchsorted(largest, np.abs(differences[0]), side="left")
    return np.asarray((len(largest) - num_below) / len(largest))


def _why_untested(num_reference: float, num_window: float, spread: float) -> str:
    """Why a feature with so many values on each side is not tested; empty if it is."""
    if num_reference == 0:
        return "no values in the reference"
    if num_window == 0:
        return "no values in the window"
    return "" if spread > 0 else "no variation between groups"
