"""What the script `transfer` does: which networks learn without which source, their runs, their scores."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from melanoma import lineage, schema
from melanoma.config.training import Hyperparameters
from melanoma.data import tables
from melanoma.data.packed import Packed, Part
from melanoma.evaluation import references
from melanoma.study import leave_out, repeats, runs, transfer_results
from melanoma.study.leave_out import Source
from melanoma.study.repeats import Draws, Repeats
from melanoma.study.runs import Arm, Outcome
from melanoma.training import features
from melanoma.training.fit import Trained
from melanoma.training.recipe import Arrays

NOTHING = "nothing"  # is left out: unlike the key of any source
LEARNT = (schema.TRAIN, schema.VALIDATION)
PREDICTION_COLUMNS = ("left_out", "network", "seed", "image_id", "probability")


@dataclass(frozen=True)
class Stage(runs.Stage):
    """Leaving out the sources of a cohort, one after the other.

    Attributes:
        data: The packed cohort.
        accepted: Folder of the records, which tell the collections.
        found: The best hyperparameters of the search.
    """

    name = "transfer"
    data: Packed
    accepted: Path
    found: Hyperparameters

    @cached_property
    def sources(self) -> list[Source]:
        """All that are large enough."""
        index, columns = self.data.index, ["image_id", "source_collection"]
        records = tables.read_tables(self.accepted, self.params.members(self.cohort), columns)
        records = records[records["image_id"].isin(index["image_id"])]
        collections = records.set_index("image_id")["source_collection"]
        return leave_out.find(index, collections, min_images=self.params.study.transfer.min_images)

    def arms(self) -> Iterator[Arm]:
        """All networks; those that cost least first, and those that learn from everything before others."""
        usable = [one for one in self.sources if leave_out.why_not(self.data, one, LEARNT) is None]
        drawn = {"baseline": self.params.baseline, "tuned": self.found}
        settings = self.params.study.transfer
        kinds = sorted(settings.num_seeds, key=lambda kind: drawn[kind].family != "vgg16")
        for kind in kinds:
            for seed in range(settings.seed, settings.seed + settings.num_seeds[kind]):
                for source in (None, *usable):
                    yield self._arm(source, kind, drawn[kind], seed)

    def _arm(self, source: Source | None, network: str, hyperparameters: Hyperparameters, seed: int) -> Arm:
        settings, left_out = self.params.study.transfer, _key(source)
        learnt = [
            self.data.part(split) if source is None else leave_out.learnt_without(self.data, source, split)
            for split in LEARNT
        ]
        return Arm(
            title=f"{network}, {left_out} left out",
            key={"network": network, "left_out": left_out},
            seed=seed,
            data=self.data,
            arrays=Arrays(*learnt),
            recipe=runs.recipe(self.params, hyperparameters, patience=settings.patience),
            num_epochs=settings.num_epochs,
            tags={
                "protocol": "leave_one_source_out",
                "source": NOTHING if source is None else source.name,
                "model": network,
            },
        )

    def score(self, arm: Arm, result: Trained) -> pd.DataFrame:
        """What the network says of every image of the source, or of the test side."""
        part = self._scored(self._source(arm))
        scored = part.by_image(features.predict(result.model, part, arm.recipe))
        rows = scored.rename("probability").reset_index()
        return rows.assign(**arm.columns)[list(PREDICTION_COLUMNS)]

    def measure(self, arm: Arm, scored: pd.DataFrame) -> dict[str, float]:
        """The AUC on what was scored."""
        source = self._source(arm)
        value = transfer_results.plain_auc(self.repeats(scored, arm.key["network"], source))
        return {"test_auc_roc" if source is None else "unseen_auc_roc": value}

    def _source(self, arm: Arm) -> Source | None:
        return next((one for one in self.sources if one.key == arm.key["left_out"]), None)

    def _scored(self, source: Source | None) -> Part:
        if source is None:
            return self.data.part(schema.TEST)
        return leave_out.images_of(self.data, source)

    def repeats(self, predictions: pd.DataFrame, network: str, source: Source | None) -> Repeats:
        """What networks of a kind that learnt without `source` say, a row for each seed."""
        is_mine = (predictions["network"] == network) & (predictions["left_out"] == _key(source))
        asked = self.data.rows_of(self._scored(source))[["image_id", "target", "group_id"]]
        mine = predictions[is_mine].merge(asked, on="image_id", how="left", validate="many_to_one")
        return repeats.of_rows(mine, image_ids=asked["image_id"])


def _key(source: Source | None) -> str:
    return NOTHING if source is None else source.key


def summarize(stage: Stage, outcome: Outcome) -> dict[str, Any]:
    """What the results file of the cohort holds."""
    settings, predictions = stage.params.study.transfer, outcome.predictions
    draws = Draws(settings.num_bootstrap_draws, settings.seed)
    whole: dict[str, Repeats] = {
        str(network): stage.repeats(predictions, network, None) for network in settings.num_seeds
    }
    return {
        "cohort": stage.cohort,
        "is_synthetic": stage.data.is_synthetic,
        "data_digest": stage.data.digest,
        "git_commit": lineage.lineage_tags()["git_commit"],
        "num_seeds": dict(settings.num_seeds),
        "max_num_epochs": settings.num_epochs,
        "min_groups": settings.min_groups,
        "tuned": stage.found.model_dump(exclude_none=True),
        "test": transfer_results.on_test(whole, _colour(stage, whole), draws),
        "sources": [_row(stage, source, predictions, whole, draws) for source in stage.sources],
        "runs": outcome.runs,
    }


def _colour(stage: Stage, whole: dict[str, Repeats]) -> Repeats:
    """What a logistic regression on colours alone says of the test side."""
    scored = references.score_colours(stage.data, stage.params.audit)
    first = next(iter(whole.values()))
    of_test = scored.loc[first.image_ids].to_numpy()
    return Repeats(first.target, first.group_ids, of_test[None], image_ids=first.image_ids)


def _row(
    stage: Stage, source: Source, predictions: pd.DataFrame, whole: dict[str, Repeats], draws: Draws
) -> dict[str, Any]:
    data, settings = stage.data, stage.params.study.transfer
    rows = data.rows_of(leave_out.images_of(data, source))
    is_tested = rows["split"] == schema.TEST
    why_not = leave_out.why_not(data, source, LEARNT)
    unseen = {
        str(network): stage.repeats(predictions, network, source)
        for network in settings.num_seeds
        if why_not is None
    }
    return {
        "source": source.name,
        "kind": source.kind,
        "num_images": len(rows),
        "num_malignant": int(rows["target"].sum()),
        "num_test_images": int(is_tested.sum()),
        "num_test_malignant": int(rows.loc[is_tested, "target"].sum()),
        "why_not": why_not,
        "networks": {
            network: transfer_results.measure(
                whole[network].take(source.holds(whole[network].image_ids)),
                mine,
                draws,
                min_groups=settings.min_groups,
            )
            for network, mine in unseen.items()
        },
        "gain": transfer_results.gain(unseen, draws, min_groups=settings.min_groups),
    }
