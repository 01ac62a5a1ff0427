"""What a challenger answered beside the served model (`serving.shadow`), joined to the answers."""

from collections import Counter
from collections.abc import Sequence

import pandas as pd

from melanoma.monitoring.spool_lines import ANSWER_ID, SHADOW_ID, TEXTS_OF_BOTH, Line, frame

SHADOWS = "shadows"  # folder of the compacted lines
PREFIX = "shadow_"
TEXTS = (SHADOW_ID, "scored_at", *TEXTS_OF_BOTH)
NUMBERS = ("score", "probability")
JOINED = ("model_name", "model_version", "score", "probability", "decision")
ALONE = "shadow lines without their answer"
OTHERS = "shadow lines of another challenger"


def table(lines: Sequence[Line]) -> pd.DataFrame:
    """One row per line of a challenger; `time` is that of the answer."""
    return frame(lines, texts=TEXTS, numbers=NUMBERS)


def join(rows: pd.DataFrame, lines: pd.DataFrame) -> tuple[pd.DataFrame, Counter[str]]:
    """Put the answers of the challenger beside those of the served model.

    Of the lines of one version for an answer the last one counts, and of several versions the one that
    answered last.

    Args:
        rows: Records of a period.
        lines: Lines of the same period, as of `table`.

    Returns:
        The rows with the columns `JOINED` after `PREFIX`, nan or None where no challenger answered; and the
        number of lines that are not in them, by the reason.
    """
    last = lines.sort_values("scored_at", kind="stable")
    last = last.drop_duplicates([SHADOW_ID, "model_name", "model_version"], keep="last")
    newest = last.drop_duplicates(SHADOW_ID, keep="last")
    num_alone = len(newest) - newest[SHADOW_ID].isin(rows[ANSWER_ID]).sum()
    problems = +Counter({ALONE: int(num_alone), OTHERS: len(last) - len(newest)})
    beside = newest.set_index(SHADOW_ID)[list(JOINED)].add_prefix(PREFIX)
    return rows.join(beside, on=ANSWER_ID), problems
