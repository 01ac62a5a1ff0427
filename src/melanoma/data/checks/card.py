"""Writes the data card: a page about the accepted and quarantined images of a dataset."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from melanoma.data.checks import card_tables as tables
from melanoma.data.checks.facts import FACT_DTYPES
from melanoma.errors import DataError, first_offenders
from melanoma.markdown import markdown
from melanoma.schema import CLINICAL_DTYPES, TEST, require_columns

FEW_GROUPS = (
    "The draws do not repeat the training of what judges, so with few groups the intervals are too narrow."
)
NOT_A_DEVICE = "Research software, not a medical device. This page is no advice on any person."
PLACE_COLUMNS = ("image_id", "dataset", "group_id", "split", "withheld")
# Hashes and thumbnails are large and mean nothing to a reader.
FACT_COLUMNS = tuple(column for column, dtype in FACT_DTYPES.items() if dtype != "object")


@dataclass(frozen=True)
class CardData:
    """The data behind a card.

    Attributes:
        dataset: Dataset name.
        num_records: Number of images before quarantine.
        images: Accepted images: columns of records and facts, `group_id`, `split`, `withheld` and `is_shared`
            (whether the group holds images of other datasets too).
        quarantined: Quarantined images with their `reasons`.
    """

    dataset: str
    num_records: int
    images: pd.DataFrame
    quarantined: pd.DataFrame

    @property
    def num_synthetic(self) -> int:
        """Number of synthetic images."""
        return int(self.images["is_synthetic"].fillna(False).sum())

    @property
    def open_images(self) -> pd.DataFrame:
        """Images of training and validation, in which shortcuts may be searched."""
        return self.images[(self.images["split"] != TEST) & self.images["withheld"].isna()]


def gather(
    dataset: str,
    *,
    records: pd.DataFrame,
    facts: pd.DataFrame,
    accepted: pd.DataFrame,
    quarantined: pd.DataFrame,
    assigned: pd.DataFrame,
) -> CardData:
    """Put together what earlier stages wrote about one dataset.

    Args:
        dataset: Its name.
        records: All of its images.
        facts: What their files are; at least `image_id` of `FACT_COLUMNS`.
        accepted: The records that passed.
        quarantined: The others: `image_id` and `reasons` (joined by "; ").
        assigned: Columns `PLACE_COLUMNS`; rows of other datasets and of images that are not
            accepted are left out.

    Raises:
        DataError: A column is absent, or accepted images have no split.
    """
    require_columns(assigned, PLACE_COLUMNS, "the table of assigned images")
    require_columns(quarantined, ("image_id", "reasons"), "the quarantine table")
    own = assigned["dataset"] == dataset
    is_shared = assigned["group_id"].isin(assigned.loc[~own, "group_id"])
    places = assigned.assign(is_shared=is_shared)[own][
        ["image_id", "group_id", "split", "withheld", "is_shared"]
    ]
    if lost := sorted(set(accepted["image_id"]) - set(places["image_id"])):
        raise DataError(
            f"{len(lost)} accepted images of {dataset} have no split: {first_offenders(lost)}. "
            "Run `dvc repro assign`."
        )
    readable = facts.reindex(columns=list(FACT_COLUMNS)).astype(
        {column: FACT_DTYPES[column] for column in FACT_COLUMNS}
    )
    images = accepted.merge(readable, on="image_id", how="left", validate="one_to_one")
    images = images.merge(places, on="image_id", validate="one_to_one")
    return CardData(dataset, len(records), images, quarantined)


def write_card(data: CardData, *, shortcuts: Sequence[str], figures: Mapping[str, str]) -> str:
    """The card in Markdown.

    Args:
        data: Result of `gather`.
        shortcuts: Sentences about what predicts the label without the lesion.
        figures: Link by name (`age`, `quality`, `resolution`, `shortcuts`); absent ones are left out.
    """
    sections = [
        _head(data),
        _classes(data.images),
        _patients(data.images, figures),
        _clinical(data.images),
        _missing(data.images),
        _files(data.images, figures),
        _masks(data.images),
        _quarantine(data),
        _groups(data.images),
        _splits(data.images),
        _shortcuts(data.open_images, shortcuts, figures),
    ]
    return "\n\n".join(block for section in sections for block in section if block) + "\n"


def _head(data: CardData) -> list[str]:
    images = data.images
    num_malignant, num_groups = int((images["target"] == 1).sum()), images["group_id"].nunique()
    return [
        f"# Data card: {data.dataset}",
        _synthetic_note(data),
        f"*{NOT_A_DEVICE}*",
        (
            f"{data.num_records:,} images were read, {len(data.quarantined):,} quarantined, {len(images):,} "
            f"accepted, {num_malignant:,} of them malignant; they form {num_groups:,} groups."
        ),
        "All below is about the accepted ones, unless it says otherwise. Fractions lie between 0 and 1.",
    ]


def _synthetic_note(data: CardData) -> str:
    if not data.num_synthetic:
        return ""
    share = "These" if data.num_synthetic == len(data.images) else f"{data.num_synthetic:,} of these"
    return f"> **SYNTHETIC.** {share} pictures were drawn by a program and show no patient's skin."


def _classes(images: pd.DataFrame) -> list[str]:
    columns = {
        "diagnosis": "diagnosis",
        "source_collection": "source collection",
        "licence": "licence",
        "attribution": "attribution",
    }
    classes = tables.class_of(images)
    num_not_stated = int(images["image_type"].isna().sum())
    return [
        "## Classes, sources and licences",
        markdown(tables.class_counts(images)),
        f"The image type of {num_not_stated:,} images is not stated." if num_not_stated else "",
        *(
            markdown(tables.counts_by_class(images[column].rename(title), classes))
            for column, title in columns.items()
        ),
    ]


def _patients(images: pd.DataFrame, figures: Mapping[str, str]) -> list[str]:
    columns = {"age": "age_years", "sex": "sex", "anatomical site": "anatom_site"}
    given = {title: images[column] for title, column in columns.items() if images[column].notna().any()}
    classes = tables.class_of(images)
    absent = ", ".join(title for title in columns if title not in given)
    ages = tables.measures_by_class(images, tables.AGE)
    return [
        "## Patients",
        f"Not given for any image: {absent}." if absent else "",
        markdown(ages) if len(ages) else "",
        _figure(figures, "age", "Age by class"),
        *(
            markdown(tables.counts_by_class(values.rename(title), classes))
            for title, values in given.items()
            if title != "age"
        ),
    ]


def _clinical(images: pd.DataFrame) -> list[str]:
    given = [column for column in CLINICAL_DTYPES if images[column].notna().any()]
    if not given:
        return []
    blocks = ["## What dermatologists saw", "An image counts once for each of its colours."]
    for column in given:
        values = images[column].str.split("; ").explode().rename(column.replace("_", " "))
        classes = tables.class_of(images).loc[values.index]
        blocks.append(
            markdown(tables.counts_by_class(values.reset_index(drop=True), classes.reset_index(drop=True)))
        )
    return blocks


def _missing(images: pd.DataFrame) -> list[str]:
    missing = tables.missing_values(images)
    return [
        "## Missing values",
        markdown(missing) if len(missing) else "Every column of the records is complete.",
    ]


def _files(images: pd.DataFrame, figures: Mapping[str, str]) -> list[str]:
    classes = tables.class_of(images)
    columns = [images["format"], images["mode"].rename("colour mode"), tables.sizes(images)]
    return [
        "## Files and picture quality",
        *(markdown(tables.counts_by_class(values, classes)) for values in columns),
        _figure(figures, "resolution", "Width and height by class"),
        "Quality is measured on the picture shrunk to one size, so that it compares across resolutions.",
        markdown(tables.measures_by_class(images, tables.QUALITY)),
        _figure(figures, "quality", "Picture quality by class"),
    ]


def _masks(images: pd.DataFrame) -> list[str]:
    num_masks = int(images["mask_path"].notna().sum())
    text = f"{num_masks:,} of {len(images):,} images have a mask of the lesion"
    if num_masks:
        num_broken = int((~images["mask_decodes"]).sum())  # missing counts as neither
        num_unlike = int((~images["mask_fits"]).sum())
        text += (
            f"; {num_broken:,} of the masks cannot be read, {num_unlike:,} have another size than the picture"
        )
    return ["## Masks", f"{text}."]


def _quarantine(data: CardData) -> list[str]:
    if data.quarantined.empty:
        return ["## Quarantine", "No image was quarantined."]
    return [
        "## Quarantine",
        f"{len(data.quarantined):,} of {data.num_records:,} images left; one may have several reasons.",
        markdown(tables.quarantine_reasons(data.quarantined)),
    ]


def _groups(images: pd.DataFrame) -> list[str]:
    num_shared = int(images["is_shared"].sum())
    return [
        "## Groups",
        "Images of one lesion, one patient, and copies of each other form a group, which lies on one side.",
        markdown(tables.group_sizes(images)),
        f"{num_shared:,} images share their group with images of other datasets." if num_shared else "",
    ]


def _splits(images: pd.DataFrame) -> list[str]:
    return ["## Training, validation and test", markdown(tables.splits_by_class(images))]


def _shortcuts(images: pd.DataFrame, shortcuts: Sequence[str], figures: Mapping[str, str]) -> list[str]:
    return [
        "## Shortcuts",
        (
            "How well the label can be told without looking at the lesion: an AUC of 0.50 is chance, 1.00 is "
            "certainty. That a fact is missing counts as a fact."
        ),
        (
            f"Judged on the {len(images):,} images of training and validation alone (test stays untouched), "
            f"cross-validated by group, with 95 % intervals from draws of groups. {FEW_GROUPS}"
        ),
        "\n".join(f"* {sentence}" for sentence in shortcuts),
        _figure(figures, "shortcuts", "AUC of each set of facts"),
    ]


def _figure(figures: Mapping[str, str], name: str, title: str) -> str:
    return f"![{title}](<{figures[name]}>)" if name in figures else ""
