"""The tables of a data card, as frames whose columns are headings for readers."""

import numpy as np
import pandas as pd

from melanoma.schema import NEGATIVE, POSITIVE, RECORD_COLUMNS, SPLITS

CLASS_NAMES = {NEGATIVE: "negative", POSITIVE: "positive"}
NO_LABEL = "no label"
NOT_GIVEN = "not given"
MAX_ROWS = 15  # rows of a table of values; further values share one row
MAX_IDS = 10

# Measures, with the unit for readers.
AGE = {"age_years": "age (years)"}
QUALITY = {
    "width": "width (pixels)",
    "height": "height (pixels)",
    "num_bytes": "file size (bytes)",
    "sharpness": "sharpness (variance of the Laplacian)",
    "brightness": "brightness (0 to 1)",
    "contrast": "contrast (0 to 1)",
    "saturation": "saturation (0 to 1)",
    "clipped_fraction": "clipped (fraction of pixels)",
    "dark_border_fraction": "dark border (fraction of pixels)",
    "hair_fraction": "hair and rulers (fraction of pixels)",
    "ink_fraction": "ink and plasters (fraction of pixels)",
    "ita_degrees": "skin tone (individual typology angle, estimated, degrees)",
    "lesion_fraction": "lesion (fraction of the mask)",
}


def class_of(images: pd.DataFrame) -> pd.Series:
    """`negative`, `positive` or `no label` of each image."""
    return images["target"].map(CLASS_NAMES).astype("object").fillna(NO_LABEL)


def counts_by_class(values: pd.Series, classes: pd.Series) -> pd.DataFrame:
    """Count the values by class, most frequent first; further values than `MAX_ROWS` share one row.

    Args:
        values: Values of images, whose name becomes a heading; a missing one counts as a value.
        classes: Result of `class_of`, with the same index.
    """
    names = values.astype("string").fillna(NOT_GIVEN).rename("value")
    counts = pd.crosstab(names, classes)
    for name in CLASS_NAMES.values():
        counts[name] = counts.get(name, 0)
    order = [name for name in (*CLASS_NAMES.values(), NO_LABEL) if name in counts]
    counts = counts[order].assign(images=counts.sum(axis=1))
    counts = counts.sort_values("images", ascending=False, kind="stable")
    if len(counts) > MAX_ROWS:
        rest = counts.iloc[MAX_ROWS:]
        counts = pd.concat([counts.iloc[:MAX_ROWS], rest.sum().to_frame(f"{len(rest)} other values").T])
    labelled = counts["negative"] + counts["positive"]
    fraction = counts["positive"] / labelled.where(labelled > 0, np.nan)
    return counts.assign(**{"positive fraction": fraction}).rename_axis(str(values.name)).reset_index()


def class_counts(images: pd.DataFrame) -> pd.DataFrame:
    """Images and groups of each class."""
    rows = [
        {
            "class": name,
            "images": len(part),
            "fraction": len(part) / len(images),
            "groups": part["group_id"].nunique(),
        }
        for name, part in images.groupby(class_of(images))
    ]
    return pd.DataFrame(rows, columns=["class", "images", "fraction", "groups"])


def sizes(images: pd.DataFrame) -> pd.Series:
    """`width x height` of each image, missing where unknown."""
    text = images["width"].astype("string") + " x " + images["height"].astype("string")
    return text.rename("width x height (pixels)")


def measures_by_class(images: pd.DataFrame, measures: dict[str, str]) -> pd.DataFrame:
    """Distribution of each of `measures` (title by column) that is not missing, with medians by class."""
    classes = class_of(images)
    rows = []
    for column, title in measures.items():
        values = images[column].astype("Float64")
        known = values.dropna()
        if known.empty:
            continue
        low, median, high = known.quantile([0.05, 0.5, 0.95])
        rows.append(
            {
                "measure": title,
                "missing": len(values) - len(known),
                "lowest": known.min(),
                "5 %": low,
                "median": median,
                "95 %": high,
                "highest": known.max(),
                **{f"median {name}": _median(known[classes == name]) for name in CLASS_NAMES.values()},
            }
        )
    return pd.DataFrame(rows)


def _median(values: pd.Series) -> float:
    return float(values.median()) if len(values) else float("nan")


def missing_values(records: pd.DataFrame) -> pd.DataFrame:
    """The columns of records with missing values."""
    missing = records[list(RECORD_COLUMNS)].isna().sum()
    missing = missing[missing > 0]
    return pd.DataFrame(
        {
            "column": missing.index,
            "missing": missing.to_numpy(),
            "missing fraction": missing.to_numpy() / max(len(records), 1),
        }
    )


def quarantine_reasons(quarantined: pd.DataFrame) -> pd.DataFrame:
    """Number of quarantined images by reason, and the first of them; an image may have several reasons."""
    reasons = quarantined.assign(reason=quarantined["reasons"].str.split("; ")).explode("reason")
    rows = [
        {"reason": reason, "images": len(ids), "image ids": _first_ids(ids.tolist())}
        for reason, ids in reasons.groupby("reason")["image_id"]
    ]
    frame = pd.DataFrame(rows, columns=["reason", "images", "image ids"])
    return frame.sort_values("images", ascending=False, kind="stable", ignore_index=True)


def _first_ids(ids: list[str]) -> str:
    shown = ", ".join(sorted(ids)[:MAX_IDS])
    return f"{shown} and {len(ids) - MAX_IDS:,} more" if len(ids) > MAX_IDS else shown


def group_sizes(images: pd.DataFrame) -> pd.DataFrame:
    """Number of groups by size, with an example."""
    members = images.groupby("group_id")["image_id"].agg(list)
    rows = [
        {
            "images in the group": size,
            "groups": len(groups),
            "example": _first_ids(groups.iloc[0]),
        }
        for size, groups in members.groupby(members.map(len))
    ]
    frame = pd.DataFrame(rows, columns=["images in the group", "groups", "example"])
    frame.loc[frame["images in the group"] == 1, "example"] = ""
    return frame


def splits_by_class(images: pd.DataFrame) -> pd.DataFrame:
    """Images and groups by split, and withheld ones by reason."""
    parts = {split: images[(images["split"] == split) & images["withheld"].isna()] for split in SPLITS}
    parts |= {
        f"withheld: {reason}": images[images["withheld"] == reason]
        for reason in sorted(images["withheld"].dropna().unique())
    }
    rows = [
        {
            "part": name,
            **{title: int((part["target"] == code).sum()) for code, title in CLASS_NAMES.items()},
            "images": len(part),
            "groups": part["group_id"].nunique(),
            "positive fraction": float(part["target"].astype("Float64").mean()) if len(part) else np.nan,
        }
        for name, part in parts.items()
    ]
    return pd.DataFrame(rows)
