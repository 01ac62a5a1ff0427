"""Read `params.yaml` and check it as a whole.

The file is the only place of a value; there are no defaults here. It is read with the YAML 1.2 rules of DVC,
so that both agree on what `3e-4` is. Nothing here changes a value, so digests of code leave this module out.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from melanoma.config.data import (
    Assign,
    Card,
    Duplicates,
    Execution,
    Fetch,
    Ingest,
    Inspect,
    Pack,
    Run,
    Sample,
    Split,
    Target,
    Validate,
)
from melanoma.config.evaluation import Audit, Evaluate, Page, Promote
from melanoma.config.monitoring import Monitor, Propose, Queue, Recalibrate, Replay
from melanoma.config.serving import Records, Serve
from melanoma.config.study import Study
from melanoma.config.training import (
    AugmentSets,
    Crossvalidate,
    Hyperparameters,
    Model,
    Segment,
    Train,
)
from melanoma.config.tuning import Choices, Search, Starts, Tune
from melanoma.config.types import Name, Names, Section
from melanoma.errors import ConfigError

SEARCHES = ("tune", "search")  # sections whose number of epochs bounds that of a recipe


class Params(Section):
    """All of `params.yaml`."""

    run: Run
    cohorts: dict[Name, Names]
    execution: Execution
    sample: Sample
    fetch: Fetch
    ingest: dict[str, Ingest]
    target: Target
    inspect: Inspect
    # A field `validate` would hide a method of pydantic.
    checks: Annotated[Validate, Field(alias="validate")]
    card: Card
    duplicates: Duplicates
    assign: Assign
    split: Split
    segment: Segment
    pack: Pack
    augment: AugmentSets
    baseline: Hyperparameters
    backbone: Hyperparameters
    model: Model
    train: Train
    tune: Tune
    search: Search
    crossvalidate: Crossvalidate
    evaluate: Evaluate
    audit: Audit
    promote: Promote
    serve: Serve
    records: Records
    monitor: Monitor
    queue: Queue
    replay: Replay
    propose: Propose
    recalibrate: Recalibrate
    study: Study
    page: Page

    @model_validator(mode="after")
    def _names_are_known(self) -> Self:
        _require_known("run.cohorts", self.run.cohorts, self.cohorts)
        _require_known("run.datasets", self.run.datasets, self.ingest)
        for cohort, members in self.cohorts.items():
            _require_known(f"cohorts.{cohort}", members, self.ingest)
        for cohort in self.run.cohorts:
            inactive = sorted(set(self.cohorts[cohort]) - set(self.run.datasets))
            if inactive:
                raise ValueError(f"cohort {cohort!r} needs the datasets {inactive}; add them to run.datasets")
        return self

    @model_validator(mode="after")
    def _every_positive_image_has_a_positive_class(self) -> Self:
        needs_classes = self.model.target == "diagnosis" or self.study.cohorts  # the study compares both
        if needs_classes and self.target.malignant_without_diagnosis == "positive":
            raise ValueError(
                "target.malignant_without_diagnosis: positive gives images without a diagnosis, whose class "
                "is other, a positive label; set it to exclude, or model.target to positive and "
                "study.cohorts to []"
            )
        return self

    @model_validator(mode="after")
    def _the_study_has_active_cohorts_with_networks(self) -> Self:
        study = self.study
        _require_known("study.cohorts", study.cohorts, dict.fromkeys(self.run.cohorts))
        _require_known("study.protocols.networks", list(study.protocols.networks), self.cohorts)
        _require_known("study.cohorts", study.cohorts, study.protocols.networks)
        if study.cohorts and self.pack.crop != "none":
            raise ValueError(
                "the study needs whole images (its stage crops makes its own); set pack.crop: none or "
                f"study.cohorts: [], got pack.crop {self.pack.crop}"
            )
        return self

    @model_validator(mode="after")
    def _the_search_space_contains_its_first_trials(self) -> Self:
        self.tune.space.require_legal(Starts(self.baseline), section="tune.space")
        if self.tune.wide:
            self.search.space.require_legal(self.starts, section="search.space")
        return self

    @model_validator(mode="after")
    def _the_segmenter_of_a_crop_is_trained(self) -> Self:
        if self.pack.crop == "unet" and not self.segment.train:
            raise ValueError(
                "pack.crop: unet requires segment.train: true; set it, or set pack.crop to none or mask"
            )
        return self

    @model_validator(mode="after")
    def _images_are_large_enough_for_the_deepest_network(self) -> Self:
        for key, depth, image_size in self._conv_blocks():
            side = image_size
            for _ in range(depth):
                side = (side - 2) // 2  # a 3 x 3 convolution without padding, then 2 x 2 pooling
            if side < 1:
                raise ValueError(
                    f"image_size {image_size} leaves no pixel after {depth} blocks; raise it, or lower {key}"
                )
        return self

    def _conv_blocks(self) -> Iterator[tuple[str, int, int]]:
        """Section, most blocks and least image size of networks of blocks; vgg16 pads its images."""
        space, family = self.settings_of_search.space, "conv_blocks"
        if family in space.families(self.starts):
            firsts = self.starts.first_trials().values()
            sizes = [first.image_size for first in firsts if first.family == family]
            sizes += [self.starts.of(family).image_size]
            sizes += [] if space.image_size is None else [int(size) for size in space.image_size.choices]
            key = "search.space.depth" if self.tune.wide else "tune.space.depth"
            yield key, self._max_depth(), min(sizes)
        for cohort, network in self.study.networks():
            if network.family == family:
                key = f"the depth in study.protocols.networks.{cohort}"
                yield key, network.depth, self.baseline.image_size
        for key, recipe, section, _ in self._trainings():
            if section.startswith("study.") and recipe.family == family:
                yield f"{key}.depth", recipe.depth or 0, recipe.image_size

    @model_validator(mode="after")
    def _phases_of_training_end_with_it(self) -> Self:
        for key, recipe, section, num_epochs in self._trainings():
            own = recipe.num_epochs or num_epochs
            length = min(own, num_epochs) if section in SEARCHES else own
            name = f"{section if length == num_epochs else key}.num_epochs"
            if recipe.warmup_epochs >= length:
                raise ValueError(
                    f"{key}.warmup_epochs must be less than {name}, got {recipe.warmup_epochs} and {length}"
                )
            if (recipe.unfreeze_epoch or 0) > length:
                raise ValueError(
                    f"{key}.unfreeze_epoch must be at most {name}, or null to keep the stages frozen, got "
                    f"{recipe.unfreeze_epoch} and {length}"
                )
        return self

    def _trainings(self) -> Iterator[tuple[str, Hyperparameters, str, int]]:
        """Section and hyperparameters of each recipe, a section that trains it, and the epochs there."""
        searched = self.starts.first_trials()
        lengths = {"train": self.train.num_epochs, "tune": self.tune.num_epochs}
        lengths |= {"search": self.search.num_epochs} if self.tune.wide else {}
        for key, recipe in searched.items():
            for section, num_epochs in lengths.items():
                yield key, recipe, section, num_epochs
        for name, experiment in self.study.experiments().items():
            for kind in experiment.recipes:
                for key in searched if kind == "tuned" else [kind]:
                    yield key, getattr(self, key), f"study.{name}", experiment.num_epochs

    @model_validator(mode="after")
    def _a_cluster_has_a_shared_database(self) -> Self:
        if self.execution.backend == "ray" and not self.tune.storage.startswith("postgresql"):
            raise ValueError(
                "execution.backend: ray requires a PostgreSQL database in tune.storage, for instance "
                "postgresql://user@host/studies, because the nodes share no files; got "
                f"{self.tune.storage!r}"
            )
        return self

    def image_sizes(self) -> list[int]:
        """Sides in pixels of the images that the networks of this file take, rising."""
        row = self.settings_of_search.space.image_size
        drawn = set() if row is None else {int(size) for size in row.choices}
        of_study = {self.backbone.image_size} if self.study.needs_backbone else set()
        firsts = {first.image_size for first in self.starts.first_trials().values()}
        return sorted(firsts | drawn | of_study)

    @property
    def settings_of_search(self) -> Tune:
        """`tune`, with the keys of `search` in place of its own where the search is wide."""
        return self.tune.widened(self.search)

    @property
    def starts(self) -> Starts:
        """Hyperparameters that the trials of the search start from."""
        return Starts(self.baseline, self.backbone if self.tune.wide else None)

    def _max_depth(self) -> int:
        row = self.settings_of_search.space.depth
        match row:
            case None:
                return self.baseline.depth or 0
            case Choices():
                return max(int(value) for value in row.choices)
        return row.high

    def members(self, cohort: str) -> list[str]:
        """The datasets of `cohort`.

        Raises:
            ConfigError: No such cohort.
        """
        if cohort not in self.cohorts:
            raise ConfigError(
                f"unknown cohort {cohort!r}; expected one of {sorted(self.cohorts)} (params.yaml: cohorts)"
            )
        return self.cohorts[cohort]


def _require_known(key: str, names: list[str], known: Mapping[str, object]) -> None:
    if len(set(names)) < len(names):
        raise ValueError(f"{key} must not repeat a name, got {names}")
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise ValueError(f"{key} has unknown names {unknown}; expected some of {sorted(known)}")


def load(path: Path) -> Params:
    """Read and check a parameter file.

    Raises:
        ConfigError: The file is missing or unreadable, a key is unknown or missing, or a value has the wrong
            type or is out of range; the message names every offending key.
    """
    try:
        return Params.model_validate(read_yaml(path))
    except ValidationError as error:
        raise ConfigError(_describe(path, error)) from error


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        ConfigError: The file is missing or unreadable, or it is not YAML or not a mapping.
    """
    try:
        content = YAML(typ="safe", pure=True).load(path)
    except FileNotFoundError as error:
        raise ConfigError(f"{path} does not exist. Run in the top folder of the repository.") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}).") from error
    except YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path} must be a mapping of sections, got {type(content).__name__}.")
    return content


def _describe(path: Path, error: ValidationError) -> str:
    lines = [_describe_one(problem) for problem in error.errors()]
    return f"{path} has {len(lines)} problem(s):\n" + "\n".join(f"  {line}" for line in lines)


def _describe_one(problem) -> str:  # type: ignore[no-untyped-def]  # pydantic's ErrorDetails
    key = ".".join(str(part) for part in problem["loc"])
    match problem["type"]:
        case "extra_forbidden":
            return f"{key}: unknown key; correct its name, remove it, or declare it in src/melanoma/config/"
        case "missing":
            return f"{key}: missing; see the committed params.yaml"
        case "value_error":
            return problem["msg"].removeprefix("Value error, ") + (f" (in {key})" if key else "")
    received = problem["input"]
    return f"{key}: {problem['msg']}, got {received!r} ({type(received).__name__})"
