"""Stage `transfer`: leave one source out, train on the others, and test on the source."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from melanoma import metric_names, schema
from melanoma.config.study import Transfer
from melanoma.config.training import Hyperparameters
from melanoma.data import tables
from melanoma.data.packed import Packed, Part
from melanoma.evaluation import references
from melanoma.stages import experiments
from melanoma.study import experiment, repeats, report_folder, sources, transfer_results
from melanoma.study.experiment import Experiment, NetworkSpec, Outcome
from melanoma.study.repeats import Bootstrap, SeedPredictions
from melanoma.study.sources import Source
from melanoma.training import features
from melanoma.training.fit import Trained
from melanoma.training.recipe import Arrays

NOTHING = "nothing"  # left out; unlike the key of any source
FITTED = (schema.TRAIN, schema.VALIDATION)  # splits that a network is fitted on
PREDICTION_COLUMNS = ("left_out", "network", "seed", "image_id", "probability")


@dataclass(frozen=True)
class TransferExperiment(Experiment):
    """Networks of each kind without each source, and with all of them.

    Attributes:
        data: The packed cohort.
        accepted: Folder of the records, which name the collections.
        tuned: The best hyperparameters of the search.
        figures: Folder of tables and figures to write.
    """

    name = "transfer"
    data: Packed
    accepted: Path
    tuned: Hyperparameters
    figures: Path

    @property
    def settings(self) -> Transfer:
        """The stage's section of the parameters."""
        return self.params.study.transfer

    @cached_property
    def sources(self) -> list[Source]:
        """All sources of the kinds wanted that are large enough."""
        settings, index, columns = self.settings, self.data.index, ["image_id", "source_collection"]
        records = tables.read_tables(self.accepted, self.params.members(self.cohort), columns)
        records = records[records["image_id"].isin(index["image_id"])]
        collections = records.set_index("image_id")["source_collection"]
        return sources.find_sources(index, collections, min_images=settings.min_images, kinds=settings.kinds)

    def networks(self) -> Iterator[NetworkSpec]:
        """All networks: cheap ones first, and those with all sources before the others."""
        usable = [one for one in self.sources if sources.reason_unusable(self.data, one, FITTED) is None]
        kinds = {
            "baseline": self.params.baseline,
            "backbone": self.params.backbone,
            "tuned": self.tuned,
        }
        settings = self.settings
        for kind in sorted(settings.num_seeds, key=lambda kind: kinds[kind].family != "vgg16"):
            for seed in range(settings.seed, settings.seed + settings.num_seeds[kind]):
                for source in (None, *usable):
                    yield self._network(source, kind, kinds[kind], seed)

    def _network(
        self, source: Source | None, kind: str, hyperparameters: Hyperparameters, seed: int
    ) -> NetworkSpec:
        left_out, data = _key(source), self.data.of_size(hyperparameters.image_size)
        return NetworkSpec(
            title=f"{kind}, {left_out} left out",
            key={"network": kind, "left_out": left_out},
            seed=seed,
            data=self.data,
            arrays=training_arrays(data, source, keeps_last=hyperparameters.keep_epoch == "last"),
            recipe=experiment.recipe(self.params, hyperparameters, patience=self.settings.patience),
            num_epochs=self.settings.num_epochs,
            tags={
                "protocol": "leave_one_source_out",
                "source": NOTHING if source is None else source.name,
                "model": kind,
            },
        )

    def predict(self, spec: NetworkSpec, result: Trained) -> pd.DataFrame:
        """The network's predictions for every image of the source left out, or for the test set."""
        data = self.data.of_size(spec.recipe.hyperparameters.image_size)
        part = _tested(data, self._source(spec))
        predictions = part.by_image(features.predict(result.model, part, spec.recipe))
        rows = predictions.rename("probability").reset_index()
        return rows.assign(**spec.columns)[list(PREDICTION_COLUMNS)]

    def measure(self, spec: NetworkSpec, predictions: pd.DataFrame) -> dict[str, float]:
        """The AUC of these predictions."""
        source = self._source(spec)
        value = transfer_results.mean_auc(self._select(predictions, spec.key["network"], source))
        section = metric_names.TEST if source is None else metric_names.UNSEEN
        return metric_names.in_section(section, {"auc_roc": value})

    def _source(self, spec: NetworkSpec) -> Source | None:
        return next((one for one in self.sources if one.key == spec.key["left_out"]), None)

    def _select(self, predictions: pd.DataFrame, network: str, source: Source | None) -> SeedPredictions:
        """The predictions of networks of one kind that were trained without `source`."""
        is_mine = (predictions["network"] == network) & (predictions["left_out"] == _key(source))
        tested = self.data.rows_of(_tested(self.data, source))[["image_id", "target", "group_id"]]
        mine = predictions[is_mine].merge(tested, on="image_id", how="left", validate="many_to_one")
        return repeats.from_rows(mine, image_ids=tested["image_id"])

    def summarize(self, outcome: Outcome) -> dict[str, Any]:
        """The content of the cohort's results file."""
        settings, predictions = self.settings, outcome.predictions
        drawn = Bootstrap(settings.num_bootstrap_draws, settings.seed)
        whole = {str(kind): self._select(predictions, kind, None) for kind in settings.num_seeds}
        return experiment.describe_data(self.cohort, self.data) | {
            "num_seeds": dict(settings.num_seeds),
            "max_num_epochs": settings.num_epochs,
            "min_groups": settings.min_groups,
            "tuned": self.tuned.model_dump(exclude_none=True),
            "test": transfer_results.measure_on_test(whole, self._predict_from_colours(whole), drawn),
            "sources": [self._summarize_source(source, predictions, whole, drawn) for source in self.sources],
            "runs": outcome.runs,
        }

    def _predict_from_colours(self, whole: dict[str, SeedPredictions]) -> SeedPredictions:
        """Predictions of a logistic regression on colours alone for the test set."""
        data = self.data.of_size(self.params.baseline.image_size)
        scored = references.score_colours(data, self.params.audit)
        first = next(iter(whole.values()))
        return first.replace(scored.loc[first.image_ids].to_numpy()[None])

    def _summarize_source(
        self,
        source: Source,
        predictions: pd.DataFrame,
        whole: dict[str, SeedPredictions],
        drawn: Bootstrap,
    ) -> dict[str, Any]:
        rows = self.data.rows_of(sources.part_of(self.data, source))
        is_tested = rows["split"] == schema.TEST
        why_not = sources.reason_unusable(self.data, source, FITTED)
        kinds = [] if why_not else list(map(str, self.settings.num_seeds))
        unseen = {kind: self._select(predictions, kind, source) for kind in kinds}
        min_groups = self.settings.min_groups
        return {
            "source": source.name,
            "kind": source.kind,
            "num_images": len(rows),
            "num_malignant": int(rows["target"].sum()),
            "num_test_images": int(is_tested.sum()),
            "num_test_malignant": int(rows.loc[is_tested, "target"].sum()),
            "why_not": why_not,
            "networks": {
                kind: transfer_results.measure(
                    whole[kind].take(source.holds(whole[kind].image_ids)), mine, drawn, min_groups=min_groups
                )
                for kind, mine in unseen.items()
            },
            "gain": transfer_results.gain(unseen, drawn, min_groups=min_groups),
        }

    def write_report(self, results: dict[str, Any], outcome: Outcome) -> None:
        """Write tables, a figure and their captions."""
        rows, note = results["sources"], experiments.data_note(self.cohort, self.data)
        figure = transfer_results.figure(rows, title=f"sources left out of {self.cohort}", note=note)
        report_folder.write(
            self.figures,
            tables={
                "better.csv": transfer_results.comparison_table(results),
                "transfer.csv": transfer_results.source_table(rows),
            },
            figures={"transfer.png": figure},
            captions=transfer_results.captions(results),
            dots_per_inch=self.settings.dots_per_inch,
        )


def training_arrays(data: Packed, source: Source | None, *, keeps_last: bool) -> Arrays:
    """Images without `source`: training and validation split.

    The epoch is chosen on validation. A network that keeps its last epoch learns from both.
    """
    if keeps_last:
        return Arrays(sources.part_without(data, source, FITTED), None)
    return Arrays(*(sources.part_without(data, source, (split,)) for split in FITTED))


def _tested(data: Packed, source: Source | None) -> Part:
    """All images of the source left out, or the test set."""
    return data.part(schema.TEST) if source is None else sources.part_of(data, source)


def _key(source: Source | None) -> str:
    return NOTHING if source is None else source.key
