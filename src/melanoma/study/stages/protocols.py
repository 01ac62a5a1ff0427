"""What the script `study` does: which networks are trained under which protocol, their runs, their scores."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from melanoma import lineage, schema
from melanoma.config.study import StudyNetwork
from melanoma.data.groups import splits
from melanoma.data.packed import Packed
from melanoma.study import protocols, repeats, runs
from melanoma.study import results as study_results
from melanoma.study.protocols import PAPER, Material
from melanoma.study.repeats import Draws
from melanoma.study.results import BALANCED_VIEW, PREDICTION_COLUMNS, TEST_VIEW
from melanoma.study.runs import Arm, Outcome
from melanoma.training import scores
from melanoma.training.fit import Trained
from melanoma.training.recipe import Arrays


@dataclass(frozen=True)
class Stage(runs.Stage):
    """The study of a cohort.

    Attributes:
        data: The packed cohort.
    """

    name = "protocols"
    data: Packed

    @cached_property
    def materials(self) -> dict[str, Material]:
        """The images under each protocol."""
        study, params = self.params.study.protocols, self.params
        made = {schema.LEAK_FREE: protocols.leak_free(self.data)}
        if PAPER in study.compared:
            made[PAPER] = protocols.paper(
                self.data,
                amounts=params.augment,
                fractions=splits.fractions_of(params.assign),
                seed=study.seed,
            )
        return {name: made[name] for name in study.compared}

    @cached_property
    def views(self) -> dict[str, dict[str, Material]]:
        """What networks of each protocol are tested with."""
        views = {name: {TEST_VIEW: _tested(material)} for name, material in self.materials.items()}
        found = views.get(schema.LEAK_FREE, {}).get(TEST_VIEW)
        if found is not None and len(set(found.rows["target"])) > 1:  # else there is nothing to balance
            views[schema.LEAK_FREE][BALANCED_VIEW] = protocols.balance(
                found, amounts=self.params.augment, seed=self.params.study.protocols.seed
            )
        return views

    def arms(self) -> Iterator[Arm]:
        """All networks; those of the first seed first, so that an unfinished study shows each kind."""
        study = self.params.study.protocols
        for seed in study.seeds:
            for kind in study.networks[self.cohort]:
                for protocol in study.compared:
                    yield self._arm(kind, protocol, seed)

    def _arm(self, kind: StudyNetwork, protocol: str, seed: int) -> Arm:
        params, material = self.params, self.materials[protocol]
        hyperparameters = params.baseline.with_drawn({"family": kind.family, "depth": kind.depth})
        return Arm(
            title=f"{kind.name} {protocol}",
            key={"network": kind.name, "protocol": protocol},
            seed=seed,
            data=self.data,
            arrays=Arrays(material.part(schema.TRAIN), material.part(schema.VALIDATION)),
            recipe=runs.recipe(
                params, hyperparameters, patience=params.study.protocols.patience, target="malignant"
            ),
            num_epochs=params.study.protocols.num_epochs,
            tags={"protocol": protocol, "model": kind.name},
        )

    def score(self, arm: Arm, result: Trained) -> pd.DataFrame:
        """What the network says of every test image it is asked about."""
        parts = [
            _scored(result, material).assign(**arm.columns, view=view)
            for view, material in self.views[arm.key["protocol"]].items()
        ]
        return pd.concat(parts, ignore_index=True)[list(PREDICTION_COLUMNS)]

    def measure(self, arm: Arm, scored: pd.DataFrame) -> dict[str, float]:
        """The network's metrics on test under the names of the platform."""
        found = repeats.measure_once(scored[scored["view"] == TEST_VIEW])
        return {f"test_{name}": value for name, value in found.items()}


def _scored(result: Trained, material: Material) -> pd.DataFrame:
    """The rows of a test side with what the network says of each picture."""
    part = material.part(schema.TEST)
    found = part.by_image(scores.predict(result.model, part))
    probability = schema.align(found, material.rows["picture_id"], what="The scores of the test side")
    return material.rows.assign(probability=probability.to_numpy())


def _tested(material: Material) -> Material:
    """The test side alone, in memory."""
    rows = material.of(schema.TEST)
    return Material(material.part(schema.TEST).take(slice(None)), rows.reset_index(drop=True))


def summarize(stage: Stage, outcome: Outcome) -> dict[str, Any]:
    """What the results file of the cohort holds.

    Args:
        stage: The study of the cohort.
        outcome: Its networks; predictions with columns `study_results.PREDICTION_COLUMNS`.
    """
    study, predictions = stage.params.study.protocols, outcome.predictions
    draws, runs = Draws(study.num_bootstrap_draws, study.seed), pd.DataFrame(outcome.runs)
    networks = {}
    for kind in study.networks[stage.cohort]:
        name = kind.name
        found = study_results.of_network(predictions[predictions["network"] == name], draws)
        for protocol, entry in found["protocols"].items():
            mine = runs[(runs["network"] == name) & (runs["protocol"] == protocol)]
            entry["runs"] = mine.drop(columns=["network", "protocol"]).to_dict("records")
        found["minus_main"] = study_results.minus_main(predictions, name, draws)
        is_frozen = kind.family == "vgg16" and stage.params.model.freeze
        networks[name] = {"family": kind.family, "depth": kind.depth, "is_frozen": is_frozen} | found
    return {
        "cohort": stage.cohort,
        "is_synthetic": stage.data.is_synthetic,
        "data_digest": stage.data.digest,
        "git_commit": lineage.lineage_tags()["git_commit"],
        "max_num_epochs": study.num_epochs,
        "patience": study.patience,
        "seeds": study.seeds,
        "threshold": draws.threshold,
        "protocols": {name: protocols.describe(material) for name, material in stage.materials.items()},
        "networks": networks,
    }
