"""Stage `protocols`: train the paper's networks under its own protocol and under the leak-free one."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from melanoma import files, metric_names, schema
from melanoma.config.study import Protocols, StudyNetwork
from melanoma.data.groups import splits
from melanoma.data.packed import Packed
from melanoma.study import experiment, protocol_results, protocols, repeats
from melanoma.study.experiment import Experiment, NetworkSpec, Outcome
from melanoma.study.protocol_results import BALANCED_VIEW, PREDICTION_COLUMNS, TEST_VIEW
from melanoma.study.protocols import PAPER, SplitImages
from melanoma.study.repeats import Bootstrap
from melanoma.training import scores
from melanoma.training.fit import Trained
from melanoma.training.recipe import Arrays


@dataclass(frozen=True)
class ProtocolExperiment(Experiment):
    """Networks of each kind under each protocol.

    Attributes:
        data: The packed cohort.
        history_path: CSV file of all epochs to write.
        roc_path: CSV file of ROC curves to write.
    """

    name = "protocols"
    data: Packed
    history_path: Path
    roc_path: Path

    @property
    def settings(self) -> Protocols:
        """The stage's section of the parameters."""
        return self.params.study.protocols

    @cached_property
    def images(self) -> dict[str, SplitImages]:
        """The images and splits under each protocol."""
        made = {schema.LEAK_FREE: protocols.leak_free(self.data)}
        if PAPER in self.settings.compared:
            made[PAPER] = protocols.paper(
                self.data,
                amounts=self.params.augment.paper,
                fractions=splits.fractions_of(self.params.assign),
                seed=self.settings.seed,
            )
        return {name: made[name] for name in self.settings.compared}

    @cached_property
    def views(self) -> dict[str, dict[str, SplitImages]]:
        """The test sets of the networks of each protocol."""
        views = {name: {TEST_VIEW: _test_images(images)} for name, images in self.images.items()}
        tested = views.get(schema.LEAK_FREE, {}).get(TEST_VIEW)
        if tested is not None and len(set(tested.rows["target"])) > 1:  # else there is nothing to balance
            views[schema.LEAK_FREE][BALANCED_VIEW] = protocols.balance(
                tested, amounts=self.params.augment.paper, seed=self.settings.seed
            )
        return views

    def networks(self) -> Iterator[NetworkSpec]:
        """All networks, those of the first seed first."""
        for seed in self.settings.seeds:
            for kind in self.settings.networks[self.cohort]:
                for protocol in self.settings.compared:
                    yield self._network(kind, protocol, seed)

    def _network(self, kind: StudyNetwork, protocol: str, seed: int) -> NetworkSpec:
        params, settings, images = self.params, self.settings, self.images[protocol]
        drawn = params.baseline.with_drawn(kind.drawn)
        return NetworkSpec(
            title=f"{kind.name} {protocol}",
            key={"network": kind.name, "protocol": protocol},
            seed=seed,
            data=self.data,
            arrays=Arrays(images.part(schema.TRAIN), images.part(schema.VALIDATION)),
            recipe=experiment.recipe(params, drawn, patience=settings.patience, target="positive"),
            num_epochs=settings.num_epochs,
            tags={"protocol": protocol, "model": kind.name},
        )

    def predict(self, spec: NetworkSpec, result: Trained) -> pd.DataFrame:
        """The network's predictions for every test set of its protocol."""
        parts = [
            _predict(result, images).assign(**spec.columns, view=view)
            for view, images in self.views[spec.key["protocol"]].items()
        ]
        return pd.concat(parts, ignore_index=True)[list(PREDICTION_COLUMNS)]

    def measure(self, spec: NetworkSpec, predictions: pd.DataFrame) -> dict[str, float]:
        """The network's metrics on the test set."""
        found = repeats.measure_single(predictions[predictions["view"] == TEST_VIEW])
        return metric_names.in_section(metric_names.TEST, found)

    def summarize(self, outcome: Outcome) -> dict[str, Any]:
        """The content of the cohort's results file."""
        settings = self.settings
        drawn = Bootstrap(settings.num_bootstrap_draws, settings.seed)
        return experiment.describe_data(self.cohort, self.data) | {
            "max_num_epochs": settings.num_epochs,
            "patience": settings.patience,
            "seeds": settings.seeds,
            "threshold": drawn.threshold,
            "protocols": {name: protocols.describe(images) for name, images in self.images.items()},
            "networks": {
                kind.name: self._summarize_network(kind, outcome, drawn)
                for kind in settings.networks[self.cohort]
            },
        }

    def _summarize_network(self, kind: StudyNetwork, outcome: Outcome, drawn: Bootstrap) -> dict[str, Any]:
        predictions, runs = outcome.predictions, pd.DataFrame(outcome.runs)
        mine = predictions[predictions["network"] == kind.name]
        found = protocol_results.measure_network(mine, drawn)
        for protocol, entry in found["protocols"].items():
            chosen = runs[(runs["network"] == kind.name) & (runs["protocol"] == protocol)]
            entry["runs"] = chosen.drop(columns=["network", "protocol"]).to_dict("records")
        found["minus_main"] = protocol_results.difference_from_main(predictions, kind.name, drawn)
        is_frozen = kind.family == "vgg16" and kind.frozen_stages == kind.depth
        return {"family": kind.family, "depth": kind.depth, "is_frozen": is_frozen} | found

    def write_report(self, results: dict[str, Any], outcome: Outcome) -> None:
        """Write the history of all epochs and the ROC curves."""
        files.write_csv(outcome.history, self.history_path)
        files.write_csv(protocol_results.roc_points(outcome.predictions), self.roc_path)


def _predict(result: Trained, images: SplitImages) -> pd.DataFrame:
    """The rows of a test set with the network's probabilities."""
    part = images.part(schema.TEST)
    found = part.by_image(scores.predict(result.model, part))
    probability = schema.align(found, images.rows["picture_id"], what="The scores of the test set")
    return images.rows.assign(probability=probability.to_numpy())


def _test_images(images: SplitImages) -> SplitImages:
    """The test set alone, in memory."""
    rows = images.rows_of(schema.TEST)
    return SplitImages(images.part(schema.TEST).take(slice(None)), rows.reset_index(drop=True))
