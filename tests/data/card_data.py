"""A dataset small enough to count by hand: five accepted images in four groups, two quarantined."""

import pandas as pd

from melanoma.data.checks.card import CardData, gather
from tests.data.toys import fact, facts_of, record, records_of

RECORDS = records_of(
    record("a", target=1, diagnosis="melanoma", sex="male", age_years=70, source_collection="north"),
    record("b", target=1, diagnosis="melanoma", sex=None, age_years=60, source_collection="north"),
    record("c", colours="red; black", streaks="absent"),
    record("d", colours="black", streaks="present", mask_path=None),
    record("e", age_years=None, licence="CC-BY"),
    record("f"),
    record("g", target=None),
)
FACTS = facts_of(
    fact("a", width=400, height=300, lesion_fraction=0.5),
    fact("b", width=400, height=300, mask_fits=False),
    fact("c", num_bytes=3000),
    fact("d", num_bytes=3000, mask_decodes=None, mask_fits=None, lesion_fraction=None),
    fact("e", mask_decodes=False, mask_fits=None, lesion_fraction=None),
    fact("f", sharpness=0.5),
    fact("g"),
)
QUARANTINED = pd.DataFrame(
    {
        "image_id": ["f", "g"],
        "path": ["images/f.png", "images/g.png"],
        "reasons": ["blurred", "label_missing; blurred"],
        "problem": [None, None],
    }
).astype("string")
# `x` is of another dataset and of c's group; `f` was accepted once.
ASSIGNED = pd.DataFrame(
    [
        ("a", "toy", "1", "1", "train", None, "p"),
        ("b", "toy", "1", "1", "train", None, "p"),
        ("c", "toy", "2", "0", "validation", None, "p"),
        ("d", "toy", "3", "0", "test", None, "p"),
        ("e", "toy", "4", "0", "train", "its group is in two splits", "p"),
        ("f", "toy", "5", "0", "train", None, "p"),
        ("x", "other", "2", "0", "validation", None, "p"),
    ],
    columns=["image_id", "dataset", "group_id", "target", "split", "withheld", "plan"],
).astype("string")


def gathered(**changes: pd.DataFrame) -> CardData:
    """The dataset as the card sees it, but for `changes`."""
    frames = {
        "records": RECORDS,
        "facts": FACTS,
        "accepted": RECORDS[RECORDS["image_id"] < "f"],
        "quarantined": QUARANTINED,
        "assigned": ASSIGNED,
    }
    return gather("toy", **(frames | changes))
