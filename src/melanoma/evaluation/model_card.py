"""The model card: use, data, evaluation, limits and open points of a model, filled from files only.

The text is in the template `model_card.md.j2`.
Follows Mitchell et al., Model cards for model reporting, FAT* 2019. What no file records is shown as open.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from melanoma.data.crops import Crop
from melanoma.data.groups import balance
from melanoma.evaluation import asked_and_got, power, unlike_sets
from melanoma.evaluation.bootstrap import explained, number_in_words
from melanoma.evaluation.headline import accepted_in_words, looks_in_words, meaning, outcome, verdict_word
from melanoma.evaluation.metric_table import TABLE
from melanoma.evaluation.seeds import provenance
from melanoma.markdown import cell, fill, markdown
from melanoma.schema import NOT_A_DEVICE, TEST, VALIDATION

TEMPLATE = "model_card.md.j2"
VERDICTS = {
    "passed": "passed and received the alias staging",
    "accepted": "accepted by a person",
    "refused": "refused",
}


@dataclass(frozen=True)
class Sources:
    """Contents of the files that fill the card.

    Attributes:
        model: `baseline` or `tuned`.
        entry: Entry of the model in `models.json`.
        metrics: Content of `metrics.json`.
        slices: Entries of the model in `slices.json`.
        audit: Content of `audit.json`.
        promotion: Content of `promotion.json`.
        split: Content of `split.json`.
        seeds: Content of `seeds.json`.
        search: What the hyperparameter search varied and found, in one line.
        licences: Columns `dataset`, `licence`, `attribution`, `images`.
        hyperparameters: Hyperparameters of the model.
        min_slice_groups: Smallest number of groups of a class in a measured slice.
    """

    model: str
    entry: Mapping[str, Any]
    metrics: Mapping[str, Any]
    slices: list[dict[str, Any]]
    audit: Mapping[str, Any]
    promotion: Mapping[str, Any]
    split: Mapping[str, Any]
    seeds: Mapping[str, Any]
    search: str
    licences: pd.DataFrame
    hyperparameters: Mapping[str, Any]
    min_slice_groups: int


def with_line(card: str, line: str) -> str:
    """The card with a paragraph below its title."""
    title, rest = card.split("\n", 1)
    return f"{title}\n\n**{line}**\n{rest}"


def write(sources: Sources) -> str:
    """The card in Markdown."""
    measured = sources.metrics[sources.model]
    crop, point = Crop.from_dict(sources.entry["crop"]), sources.entry["operating_point"]
    promotion = sources.promotion
    card = fill(
        Path(__file__).with_name(TEMPLATE),
        **vars(sources),
        balance=balance.table(sources.split["balance"]) if "balance" in sources.split else None,
        meaning=meaning(sources.metrics),
        not_a_device=NOT_A_DEVICE.capitalize(),
        seen="the whole image" if crop is None else crop.in_words(),
        point=point,
        asked_and_got=markdown(
            pd.DataFrame(asked_and_got.table(point, measured[TEST]), columns=asked_and_got.TITLES)
        ),
        notes=asked_and_got.notes(point),
        validation=measured[VALIDATION],
        test=measured[TEST],
        shown=TABLE,
        cell=cell,
        in_words=explained,
        looks=looks_in_words(promotion["looks"]),
        outcome=outcome,
        verdict=VERDICTS[verdict_word(promotion)],
        markdown=markdown,
        number=number_in_words,
        percent="{:.0%}".format,
        provenance=provenance(sources.seeds, sources.model),
        power=power,
        unlike_table=markdown(unlike_sets.table(sources.audit["unlike"]))
        if sources.audit.get("unlike")
        else "",
    )
    accepted = promotion.get("accepted")
    return with_line(card, accepted_in_words(accepted)) if accepted else card
