"""Writes the data card: a page about the accepted and quarantined images of a dataset.

The text is in the template `card.md.j2`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from melanoma.data.checks import card_tables as tables
from melanoma.data.checks.facts import FACT_DTYPES
from melanoma.data.groups import balance
from melanoma.data.targets import count_without_diagnosis
from melanoma.data.tone_classes import CAVEAT, tone_classes
from melanoma.errors import DataError, first_offenders
from melanoma.markdown import fill, markdown
from melanoma.schema import CLINICAL_DTYPES, SPLIT_COLUMNS, TEST, require_columns

TEMPLATE = "card.md.j2"
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


def write_card(
    data: CardData, *, shortcuts: Sequence[str], figures: Mapping[str, str], positive_means: str
) -> str:
    """The card in Markdown.

    Args:
        data: Result of `gather`.
        shortcuts: Sentences about what predicts the label without the lesion.
        figures: Link by name (`age`, `quality`, `resolution`, `shortcuts`); absent ones are left out.
        positive_means: What `positive` means, in words.
    """
    images, classes = data.images, tables.class_of(data.images)
    columns = images.assign(
        size=tables.sizes(images), skin_tone=tone_classes(images["ita_degrees"], images["skin_type"])
    )

    def by_class(column: str, title: str | None = None) -> str:
        values = columns[column].rename(title or column)
        if column in CLINICAL_DTYPES:
            values = values.str.split("; ").explode()
        of_values = classes.loc[values.index].reset_index(drop=True)
        return markdown(tables.counts_by_class(values.reset_index(drop=True), of_values))

    in_split = images[images["withheld"].isna()]
    found = balance.measure(in_split[list(SPLIT_COLUMNS)], in_split)
    without_diagnosis = count_without_diagnosis(images)
    patients = {"age": "age_years", "sex": "sex", "anatomical site": "anatom_site"}
    return fill(
        Path(__file__).with_name(TEMPLATE),
        data=data,
        images=images,
        shortcuts=shortcuts,
        figures=figures,
        positive_means=positive_means,
        num_malignant=int((images["target"] == 1).sum()),
        num_groups=images["group_id"].nunique(),
        num_mixed_groups=int(images.groupby("group_id")["target"].agg(lambda part: len(set(part)) > 1).sum()),
        only_benign=without_diagnosis["num_benign_without_diagnosis"],
        only_malignant=without_diagnosis["num_malignant_without_diagnosis"],
        num_without_type=int(images["image_type"].isna().sum()),
        not_given=[title for title, column in patients.items() if images[column].isna().all()],
        clinical=[column for column in CLINICAL_DTYPES if images[column].notna().any()],
        num_masks=int(images["mask_path"].notna().sum()),
        num_broken=int((~images["mask_decodes"]).sum()),  # missing counts as neither
        num_unlike=int((~images["mask_fits"]).sum()),
        num_shared=int(images["is_shared"].sum()),
        by_class=by_class,
        has_skin_types=bool(images["skin_type"].notna().any()),
        caveat=CAVEAT,
        balance=balance.table(found),
        limit=found["limit"],
        count="{:,}".format,
        markdown=markdown,
        tables=tables,
    )
