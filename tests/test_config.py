import copy
import re
from pathlib import Path
from typing import Any, get_args

import pytest
from ruamel.yaml import YAML

from melanoma import config
from melanoma.config.data import DiagnosisClass, MalignantClass
from melanoma.errors import ConfigError
from melanoma.schema import CLASSES, MALIGNANT_CLASSES

ROOT = Path(__file__).resolve().parents[1]
REMOVED = object()


@pytest.fixture(scope="module")
def committed() -> dict[str, Any]:
    """The committed content, run on the sample."""
    content: dict[str, Any] = YAML(typ="safe", pure=True).load(ROOT / "params.yaml")
    return content | {"run": {"datasets": ["sample"], "cohorts": ["sample"]}}


@pytest.fixture
def load(committed, monkeypatch):
    """Load the committed parameters with some changed: `load({"train.seed": 5})`."""

    def load_changed(changes: dict[str, object]) -> config.Params:
        content = copy.deepcopy(committed)
        for key, value in changes.items():
            change(content, key.split("."), value)
        # Reading and writing a thousand files of YAML would take most of the time of these tests.
        monkeypatch.setattr("melanoma.config.params.read_yaml", lambda path: content)
        return config.load(Path("params.yaml"))

    return load_changed


def change(content: dict[str, Any], keys: list[str], value: object) -> None:
    *sections, last = keys
    for section in sections:
        content = content[section]
    if value is REMOVED:
        del content[last]
    else:
        content[last] = value


def value_of(params: config.Params, key: str) -> object:
    found: Any = params
    for name in key.replace("validate.", "checks.").split("."):
        found = found[name] if isinstance(found, dict) else getattr(found, name)
    return found


# ---- the committed file ----------------------------------------------------------------------


def test_the_committed_parameters_load(params):
    assert params.members("joint") == ["isic", "ph2"]
    assert params.baseline.image_size == 150
    assert params.baseline.depth == 3


def test_an_unknown_cohort_is_refused_and_the_known_ones_named(params):
    with pytest.raises(ConfigError, match=r"unknown cohort 'both'; expected one of \['"):
        params.members("both")


def test_parameters_are_frozen(params):
    with pytest.raises(ValueError, match="frozen"):
        params.train.seed = 5


# ---- bounds ----------------------------------------------------------------------------------

FRACTION = ([0, 0.0, 0.5, 1, 1.0], [-0.01, 1.01, True, "0.5", None, float("nan")])
SEED = ([0, 2**32 - 1], [-1, 2**32, 1.5, True, "1"])
POSITIVE = ([1, 1000], [0, -1, 1.5, True, "1", None])

BOUNDS: dict[str, tuple[list[Any], list[Any]]] = {
    "run.datasets": ([["sample"], ["sample", "ph2"]], [[], "sample", None, [1]]),
    "cohorts.joint": ([["isic"], ["isic", "ph2"]], [[], "isic", [1]]),
    "execution.backend": (["processes"], ["threads", None]),
    "execution.num_workers": ([0, 64], [-1, 1.0, True, "2", None]),
    "execution.ray_address": ([None, "auto", "10.0.0.1:6379"], [6379]),
    "sample.seed": SEED,
    "sample.num_lesions": ([40, 9999], [9, 10_000]),
    "sample.num_second_views": ([0], [-1]),
    "sample.malignant_fraction": ([0.01, 0.99], [0, 1, "0.4"]),
    "sample.image_size": ([160], [159]),
    "ingest.sample.licence": ([None, "CC-0"], [5, True]),
    "ingest.sample.attribution": ([None, "A clinic"], [5]),
    "fetch.api_url": (
        ["http://127.0.0.1:80/api/v2/"],
        ["api/v2/", "https://a.example/api", "ftp://a/", None],
    ),
    "fetch.page_size": ([1, 100], [0, 101, 10.0]),
    "fetch.num_connections": ([1, 64], [0, 65, 1.0]),
    "fetch.num_retries": ([0, 10], [-1, 1.5, None]),
    "fetch.backoff_seconds": ([0, 0.5], [-0.1, "1"]),
    "fetch.max_wait_seconds": ([0, 120], [-1, 1.5, "120"]),
    "fetch.timeout_seconds": ([0.1, 60], [0, -1, "60"]),
    "inspect.working_size": ([64], [63]),
    "inspect.clipping_level": FRACTION,
    "inspect.dark_border_max_brightness": FRACTION,
    "inspect.hair_max_width": ([3, 9], [2, 9.0]),
    "inspect.hair_min_length": ([3, 15], [2, 15.0]),
    "inspect.hair_min_depth": FRACTION,
    "inspect.ink_min_hue_degrees": ([0, 180.0], [-1, 361, "70"]),
    "inspect.ink_max_hue_degrees": ([180, 360], [-1, 361, "70"]),
    "inspect.ink_min_saturation": FRACTION,
    "inspect.ink_min_brightness": FRACTION,
    "inspect.ink_min_colour_distance": ([0, 20.5], [-1, "20"]),
    "validate.min_image_side": POSITIVE,
    "validate.modes": ([["RGB"], ["RGB", "L"]], [[], "RGB", None, [8]]),
    "validate.max_bit_depth": POSITIVE,
    "validate.min_sharpness": ([0, 100.5], [-0.1, "2", None]),
    "validate.min_brightness": ([0, 0.0, 0.5], FRACTION[1]),
    "validate.max_brightness": ([0.5, 1, 1.0], FRACTION[1]),
    "validate.min_contrast": FRACTION,
    "validate.min_saturation": FRACTION,
    "validate.max_clipped_fraction": FRACTION,
    "validate.max_dark_border_fraction": FRACTION,
    "validate.max_hair_fraction": FRACTION,
    "validate.min_lesion_fraction": FRACTION,
    "validate.min_age_years": ([0], [-1]),
    "validate.max_age_years": ([0, 120], [-1]),
    "validate.licences": ([["CC-0"]], [[], "CC-0", [0]]),
    "validate.min_images": POSITIVE,
    "validate.min_malignant_fraction": ([0, 0.0, 0.5], FRACTION[1]),
    "validate.max_malignant_fraction": ([0.5, 1, 1.0], FRACTION[1]),
    "validate.max_quarantined_fraction": FRACTION,
    "validate.excluded_ids": ([[], ["ISIC_0000001"]], ["ISIC_0000001", None, [1]]),
    "validate.image_checks.blurred": (["critical", "quarantine", "warn"], ["ignore", True, None]),
    "validate.table_checks.class_balance": (["critical", "warn"], ["quarantine", None]),
    "card.seed": SEED,
    "card.num_folds": ([2, 10], [1, 2.0]),
    "card.num_bootstrap_draws": ([100], [99]),
    "duplicates.max_distance": ([0, 7], [-1, 8, 6.0]),
    "duplicates.min_correlation": FRACTION,
    "duplicates.fine_structure_sigma": ([0.1, 4], [0, -1, "4"]),
    "assign.seed": SEED,
    "assign.train_fraction": ([0.6], [0, 1, "0.6"]),
    "split.max_fraction_deviation": FRACTION,
    "split.max_prevalence_deviation": FRACTION,
    "segment.seed": SEED,
    "segment.image_size": ([32, 96], [16, 96.0]),
    "segment.depth": ([1, 5], [0, 7, 3.0]),
    "segment.filters": POSITIVE,
    "segment.learning_rate": ([1e-5, 1e-2], [0, 1, "3.0e-4"]),
    "segment.batch_size": POSITIVE,
    "segment.num_epochs": POSITIVE,
    "segment.patience": POSITIVE,
    "segment.min_lesion_fraction": ([0, 0.5], [-0.1, 1]),
    "segment.num_bootstrap_draws": ([100], [99]),
    "baseline.image_size": ([94, 150], [31, 150.0]),
    "pack.crop": (["none", "mask"], ["lesion", None, True]),
    "pack.crop_margin_fraction": ([0, 0.0, 0.5, 2], [-0.1, 2.1, "0.1"]),
    "study.crops.seed": SEED,
    "study.crops.num_seeds": POSITIVE,
    "study.crops.num_epochs": POSITIVE,
    "study.crops.patience": POSITIVE,
    "study.crops.num_bootstrap_draws": ([100], [99]),
    "augment.strong.rotation_degrees": ([0, 360], [-1, 361]),
    "augment.strong.horizontal_shift_fraction": FRACTION,
    "augment.paper.vertical_shift_fraction": FRACTION,
    "augment.strong.aspect_fraction": ([0, 0.99], [-0.01, 1]),
    "augment.strong.channel_fraction": ([0, 0.99], [-0.01, 1]),
    "augment.strong.zoom_fraction": ([0, 0.99], [-0.01, 1]),
    "augment.paper.flips": ([True, False], [1, 0, "yes", None]),
    "augment.strong.brightness_fraction": ([0, 0.99], [-0.01, 1]),
    "augment.strong.contrast_fraction": ([0, 0.99], [-0.01, 1]),
    "augment.strong.saturation_fraction": ([0, 0.99], [-0.01, 1]),
    "augment.strong.hue_degrees": ([0, 180], [-1, 181]),
    "baseline.family": (["conv_blocks"], ["no such family", None]),
    "baseline.batch_norm": ([True, False], [1, "yes"]),
    "baseline.residual": ([True, False], [1, "yes"]),
    "baseline.global_pooling": ([True, False], [1, "yes"]),
    "baseline.learning_rate": ([1e-5, 1e-2], [0, 1, "3.0e-4"]),
    "baseline.depth": ([1, 5], [0, 6, 3.0]),
    "baseline.filters": ([1, 64], [0, -1, 2.5]),
    "baseline.dense_units": ([1, 64], [-1, 2.5]),
    "baseline.dropout": ([0, 0.9], [-0.1, 1]),
    "baseline.batch_size": POSITIVE,
    "baseline.optimizer": (["adam", "sgd"], ["lion", None]),
    "baseline.weight_decay": ([0, 0.5], [-0.1, 1]),
    "baseline.augment_strength": FRACTION,
    "baseline.augmentation": (["paper", "strong"], ["weak", None]),
    "baseline.sampling_power": FRACTION,
    "baseline.schedule": (["constant", "cosine"], ["linear", None]),
    "baseline.warmup_epochs": ([0, 3], [-1, 1.5]),
    "baseline.final_learning_rate_fraction": FRACTION,
    "baseline.label_smoothing": ([0, 0.49], [-0.1, 0.5]),
    "baseline.ema": ([0, 0.999], [-0.1, 1]),
    "baseline.num_epochs": ([None, 1], [0, 1.5]),
    "baseline.keep_epoch": (["best", "last"], ["first", None]),
    "backbone.drop_connect": ([0, 0.3], [-0.1, 1]),
    "backbone.dense_units": ([0, 64], [-1]),
    "backbone.layer_decay": ([0.5, 1], [0, 1.1]),
    "backbone.frozen_stages": ([0, 3], [-1, 1.5]),
    "model.filter_multiples": ([[1, 1, 1, 1, 1], [1, 2, 4, 8, 16]], [[], [0] * 5, [1.5] * 5, "32"]),
    "model.num_views": POSITIVE,
    "train.seed": SEED,
    "train.num_seeds": POSITIVE,
    "train.ensemble": (["seeds", "folds"], ["bag", None]),
    "train.num_epochs": POSITIVE,
    "train.monitor": (
        ["val_loss", "val_accuracy", "val_auc_roc", "val_specificity_at_95_sensitivity"],
        ["loss", None],
    ),
    "train.patience": POSITIVE,
    "train.momentum": ([0, 0.99], [-0.1, 1]),
    "train.mixed_precision": ([True, False, "auto"], [1, None, "on"]),
    "train.deterministic": ([True, False], [1, None]),
    "train.input": (["auto", "host", "device"], ["gpu", None]),
    "train.num_loader_threads": ([0, 4], [-1, 1.5]),
    "train.checkpoints": (["data/checkpoints"], ["", None]),
    "tune.wide": ([True, False], [1, None]),
    "tune.max_minutes": ([None, 1], [0, 1.5]),
    "search.num_trials": POSITIVE,
    "search.max_minutes": ([None, 1], [0, 1.5]),
    "search.num_epochs": POSITIVE,
    "search.pruner": (["median", "hyperband", "successive_halving", "none"], [None, "wilcoxon"]),
    "search.num_startup_trials": ([0, 10], [-1, 1.0]),
    "search.num_warmup_epochs": ([0, 10], [-1, 1.0]),
    "tune.seed": SEED,
    "tune.num_trials": POSITIVE,
    "tune.num_epochs": POSITIVE,
    "tune.objective": (["auc_roc", "average_precision", "specificity_at_95_sensitivity"], ["accuracy", None]),
    "tune.pruner": (["median", "hyperband", "successive_halving", "none"], [None, "wilcoxon"]),
    "tune.num_startup_trials": ([0, 10], [-1, 1.0]),
    "tune.num_warmup_epochs": ([0, 10], [-1, 1.0]),
    "tune.study": ([None, "my-study"], ["my study", 5]),
    "tune.storage": (["a.journal", "postgresql://u@h/studies"], ["", None]),
    "tune.num_workers": ([0, 4], [-1, 1.5]),
    "tune.workers_per_device": POSITIVE,
    "tune.trials_per_process": POSITIVE,
    "tune.cpus_per_trial": POSITIVE,
    "evaluate.seed": SEED,
    "evaluate.num_bootstrap_draws": ([100], [99]),
    "evaluate.min_sensitivity": ([0.01, 1], [0, 1.01]),
    "evaluate.sensitivity_confidence": ([None, 0.95], [0, 1, "high"]),
    "promote.min_auc_roc_lower_bound": FRACTION,
    "promote.min_specificity_at_threshold": ([None, 0, 0.2, 0.99], [1, -0.1, "0.2"]),
    "promote.min_sensitivity": ([None, 0.01, 0.95], [0, 1, 0.0, 1.0, "0.9"]),
    "promote.must_beat_references": (
        [[], ["colour"], ["colour", "file_facts", "lesion_size"]],
        [["form"], "colour", True, None],
    ),
    "promote.min_groups_not_worse": POSITIVE,
    "promote.max_primary_drop": FRACTION,
    "promote.calibration_intercept_band": ([None, [-0.5, 0.5], [0.0, 1.0]], [0.5, "0", []]),
    "promote.calibration_slope_band": ([None, [0.5, 2.0]], [True, ["0.5", 2.0]]),
    "promote.min_brier_skill": ([None, 0.0, -1.0, 0.5], [1.0, "0"]),
    "promote.min_malignant_groups": POSITIVE,
    "promote.shadow_records": ([None, "records", "s3://bucket/records"], ["", 5]),
    "promote.shadow_labels": ([[], ["labels.csv"]], ["labels.csv", None, [5]]),
    "serve.num_views": ([1, 4, 8], [0, 2, 16, None]),
    "page.max_picture_width": ([200, 4000], [199, 4001, 300.5, None]),
    "page.max_megabytes": ([0.1, 20], [0, -1, "4", None]),
}
ACCEPTED = [(key, value) for key, (legal, _) in BOUNDS.items() for value in legal]
REJECTED = [(key, value) for key, (_, illegal) in BOUNDS.items() for value in illegal]


@pytest.mark.parametrize(("key", "value"), ACCEPTED)
def test_a_legal_value_is_accepted(load, key, value):
    assert value_of(load({key: value}), key) == value


@pytest.mark.parametrize(("key", "value"), REJECTED)
def test_an_illegal_value_is_refused_by_its_key_and_what_was_got(load, key, value):
    with pytest.raises(ConfigError, match=r"params\.yaml has \d+ problem") as caught:
        load({key: value})
    shown = value[0] if isinstance(value, list) and value else value  # of a list, its first bad entry
    line = next(line for line in str(caught.value).splitlines() if line.strip().startswith(key))
    assert f"got {shown!r} ({type(shown).__name__})" in line


def test_answers_in_shadow_are_required_only_from_records_that_are_named(load):
    with pytest.raises(ConfigError, match="min_shadow_rows needs shadow_records, the folder or s3://"):
        load({"promote.min_shadow_rows": 100})
    found = load({"promote.min_shadow_rows": 100, "promote.shadow_records": "records"})
    assert found.promote.min_shadow_rows == 100
    assert load({}).promote.min_shadow_rows is None


# ---- numbers as YAML 1.2 has them ------------------------------------------------------------


@pytest.mark.parametrize("written", ["3e-4", "3.0e-4", "3E-4", "0.0003"])
def test_a_number_without_quotes_is_a_number_with_or_without_a_dot(tmp_path, written):
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    text, num_changed = re.subn(r"(?m)^(  learning_rate:) \d\S+", rf"\1 {written}", text)
    assert num_changed >= 1
    (tmp_path / "params.yaml").write_text(text, encoding="utf-8")
    assert config.load(tmp_path / "params.yaml").baseline.learning_rate == 0.0003


def test_a_number_in_quotes_is_no_number(load):
    with pytest.raises(ConfigError, match=r"baseline\.learning_rate: .*valid number, got '3\.0e-4' \(str\)"):
        load({"baseline.learning_rate": "3.0e-4"})


# ---- keys ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key", ["baseline.batch_sise", "extra", "run.model", "ingest.sample.owner", "validate.image_checks.ugly"]
)
def test_an_unknown_key_is_refused_by_its_name(load, key):
    words = "correct its name, remove it, or declare it in src/melanoma/config/"
    with pytest.raises(ConfigError, match=rf"{re.escape(key)}: unknown key; {words}"):
        load({key: 1})


@pytest.mark.parametrize(
    "key",
    [
        "baseline.batch_size",
        "validate.min_images",
        "split",
        "ingest.ph2.licence",
        "validate.image_checks.hairy",
    ],
)
def test_a_missing_key_is_refused_by_its_name(load, key):
    with pytest.raises(ConfigError, match=rf"{re.escape(key)}: missing; see the committed params\.yaml"):
        load({key: REMOVED})


def test_all_problems_are_named_at_once(load):
    with pytest.raises(ConfigError, match=r"has 3 problem\(s\)") as caught:
        load({"train.seed": -1, "train.sead": 1, "pack.crop": REMOVED})
    for key in ("train.seed", "train.sead", "pack.crop"):
        assert f"\n  {key}: " in str(caught.value)


@pytest.mark.parametrize(
    ("old", "value", "new"),
    [
        ("must_beat_colour", True, "must_beat_references"),
        ("max_calibration_error", 0.2, "calibration_intercept_band"),
    ],
)
def test_a_gate_of_an_earlier_version_is_refused_with_what_replaced_it(load, old, value, new):
    load({})
    with pytest.raises(ConfigError, match=rf"{old} was replaced by {new}.*\(in promote\)"):
        load({f"promote.{old}": value})


@pytest.mark.parametrize(
    ("key", "value", "new"),
    [
        ("model.weights", None, "weights of baseline and backbone"),
        ("model.freeze", True, "frozen_stages of baseline and backbone"),
        ("train.balance_classes", True, "sampling_power of baseline and backbone"),
        ("train.schedule", "cosine", "schedule of baseline and backbone"),
        ("pack.image_size", 150, "image_size of baseline and backbone"),
    ],
)
def test_a_key_that_became_a_hyperparameter_is_refused_with_its_new_place(load, key, value, new):
    load({})
    with pytest.raises(ConfigError, match=f"{key.split('.')[1]} was replaced by {new}"):
        load({key: value})


def test_the_old_word_for_the_target_is_refused_with_the_new_one(load):
    assert load({"model.target": "positive"}).model.target == "positive"
    with pytest.raises(ConfigError, match="target: malignant was renamed to positive"):
        load({"model.target": "malignant"})


# ---- values that must fit each other ---------------------------------------------------------


def test_an_ensemble_has_no_more_networks_than_are_trained(load):
    assert load({"train.num_networks": 3, "train.num_seeds": 3}).train.num_networks == 3
    with pytest.raises(ConfigError, match=r"num_networks must be at most num_seeds, .* got 4 and 3"):
        load({"train.num_networks": 4, "train.num_seeds": 3})


@pytest.mark.parametrize(
    ("band", "complaint"),
    [
        ([2.0, 0.5], r"a band must be \[low, high\] with low < high, got \[2.0, 0.5\]"),
        ([1.0, 1.0], r"a band must be \[low, high\] with low < high"),
        ([0.5], "at least 2 items"),
        ([0.5, 1.0, 2.0], "at most 2 items"),
        ([0.5, float("inf")], "finite number"),
    ],
)
def test_a_band_has_two_rising_ends(load, band, complaint):
    assert load({"promote.calibration_slope_band": [0.5, 2.0]}).promote.calibration_slope_band == [0.5, 2.0]
    with pytest.raises(ConfigError, match=complaint):
        load({"promote.calibration_slope_band": band})


def test_fractions_must_add_to_one(load):
    fractions = ("assign.train_fraction", "assign.validation_fraction", "assign.test_fraction")
    assert load(dict(zip(fractions, (0.7, 0.2, 0.1), strict=True))).assign.train_fraction == 0.7
    with pytest.raises(ConfigError, match=r"fractions must add to 1, got 1\.1 \(in assign\)"):
        load(dict(zip(fractions, (0.7, 0.2, 0.2), strict=True)))


CARCINOMAS = ["basal cell carcinoma", "actinic keratosis or squamous cell carcinoma"]


@pytest.mark.parametrize("positive", [["melanoma"], ["melanoma", *CARCINOMAS], list(CLASSES)[1:]])
def test_some_of_the_known_classes_are_positive(load, positive):
    assert load({"target.positive": positive}).target.positive == positive


@pytest.mark.parametrize(
    ("positive", "complaint"),
    [
        ([], "target.positive"),
        (["naevus"], "target.positive.0: Input should be 'melanoma', 'basal cell carcinoma'"),
        (["melanoma", "melanoma"], "must name each class once and not all 8"),
        (list(CLASSES), "must name each class once and not all 8"),
    ],
)
def test_positive_is_at_least_one_known_class_and_not_all(load, positive, complaint):
    with pytest.raises(ConfigError, match=complaint):
        load({"target.positive": positive})


def test_only_malignant_is_positive_only_if_a_malignant_class_is(load):
    rule = {"target.malignant_without_diagnosis": "positive"}
    load({"target.positive": ["nevus", "melanoma"], **rule})
    with pytest.raises(ConfigError, match=r"requires one of .* in positive, got .'nevus'"):
        load({"target.positive": ["nevus"], **rule})


def test_images_without_a_diagnosis_have_no_positive_label_where_classes_are_learned(load):
    rule, classes = {"target.malignant_without_diagnosis": "positive"}, {"model.target": "diagnosis"}
    load(rule)
    load(classes)
    with pytest.raises(ConfigError, match=r"set it to exclude, or model\.target to positive"):
        load(rule | classes)


def test_the_classes_of_the_parameters_are_those_of_the_schema():
    assert set(get_args(DiagnosisClass)) == set(CLASSES)
    assert get_args(MalignantClass) == MALIGNANT_CLASSES


def test_a_cohort_needs_all_its_datasets_active(load):
    both = {"run.datasets": ["isic", "ph2"], "run.cohorts": ["joint", "ph2"]}
    assert load(both).run.cohorts == ["joint", "ph2"]
    with pytest.raises(
        ConfigError, match=r"cohort 'joint' needs the datasets \['isic'\]; add them to run\.datasets"
    ):
        load(both | {"run.datasets": ["ph2"]})


def test_active_cohorts_and_datasets_must_be_known(load, committed):
    datasets = sorted(committed["ingest"])
    with pytest.raises(
        ConfigError,
        match=re.escape(
            f"run.cohorts has unknown names ['both']; expected some of {sorted(committed['cohorts'])}"
        ),
    ):
        load({"run.cohorts": ["both"]})
    with pytest.raises(
        ConfigError, match=re.escape(f"run.datasets has unknown names ['ham']; expected some of {datasets}")
    ):
        load({"run.datasets": ["sample", "ham"]})


def test_the_baseline_may_lie_on_the_edge_of_the_search_space(load):
    edge = {"tune.space.depth": {"low": 2, "high": 3}, "baseline.depth": 2}
    assert load(edge).baseline.depth == 2
    with pytest.raises(ConfigError, match=r"baseline\.depth is trial 0 and must be within .*, got 1 and "):
        load(edge | {"baseline.depth": 1})


def test_a_choice_must_hold_the_baseline_too(load):
    batches = {"tune.space.batch_size": {"choices": [16, 64]}}
    assert load(batches | {"baseline.batch_size": 16}).baseline.batch_size == 16
    with pytest.raises(ConfigError, match=r"baseline\.batch_size is trial 0 .*, got 32 and .*16, 64"):
        load(batches)


def test_both_first_trials_of_a_wide_search_must_lie_in_its_space(load):
    wide = {"tune.wide": True, "search.space.learning_rate": {"low": 5e-4, "high": 1e-3, "log": True}}
    found = load(wide)
    assert found.starts.backbone == found.backbone
    assert found.settings_of_search.space == found.search.space
    assert found.settings_of_search.num_trials == found.search.num_trials
    outside = {"backbone.learning_rate": 2e-3}
    assert load(wide | outside | {"tune.wide": False}).starts.backbone is None
    with pytest.raises(ConfigError, match=r"backbone\.learning_rate is trial 1 and must be within search\."):
        load(wide | outside)


def test_a_wide_search_needs_images_of_each_size_that_it_may_draw(load):
    assert load({}).image_sizes() == [150]
    assert load({"tune.wide": True}).image_sizes() == [150, 192, 224]


def test_a_study_of_the_backbone_needs_images_of_its_size(load):
    off = {
        "study.cohorts": ["sample"],
        "study.transfer.num_seeds": {"baseline": 1, "tuned": 3},
        "study.resplit.backbone_features": False,
    }
    assert load(off).image_sizes() == [150]
    for on in (
        {"study.transfer.num_seeds": {"backbone": 1}},
        {"study.resplit.backbone_features": True},
        {"study.diagnosis.recipe": "backbone"},
    ):
        assert load(off | on).image_sizes() == [150, 224]
        assert load(off | on | {"study.cohorts": []}).image_sizes() == [150]
    assert load(off | {"study.crops.recipe": "backbone"}).image_sizes() == [150]  # it packs its own images
    with pytest.raises(ConfigError, match=r"study\.diagnosis\.recipe"):
        load({"study.diagnosis.recipe": "tuned"})


def test_a_row_that_is_null_is_not_searched(load):
    rows = load({"tune.space.depth": None, "tune.space.dropout": {"low": 0, "high": 0.5, "log": False}})
    assert list(rows.tune.space.rows()) == ["learning_rate", "dropout"]


def test_the_search_space_must_not_be_empty(load, committed):
    empty = dict.fromkeys(committed["tune"]["space"])
    assert list(load({"tune.space": empty | {"depth": {"low": 3, "high": 3}}}).tune.space.rows()) == ["depth"]
    with pytest.raises(ConfigError, match=r"search space is empty; give a range or choices"):
        load({"tune.space": empty})


@pytest.mark.parametrize(
    ("row", "value", "message"),
    [
        ("depth", {"low": 4, "high": 3}, r"low must not exceed high, got 4 and 3"),
        ("depth", {"low": 1, "high": 6}, r"tune\.space\.depth: .* less than or equal to 5, got 6"),
        (
            "learning_rate",
            {"low": 0.0, "high": 0.1, "log": True},
            r"low must be above 0 on a log scale, got 0",
        ),
        (
            "learning_rate",
            {"low": 0.1, "high": 0.01, "log": False},
            r"low must not exceed high, got 0\.1 and",
        ),
        (
            "learning_rate",
            {"low": 1e-5, "high": 1.5, "log": True},
            r"tune\.space\.learning_rate: .*, got 1\.5",
        ),
        ("learning_rate", {"low": 1e-5, "log": True}, r"learning_rate\.range\.high: missing"),
        (
            "optimizer",
            {"choices": ["adam", "lion"]},
            r"tune\.space\.optimizer: .*'adam' or 'sgd', got 'lion'",
        ),
        ("batch_size", {"choices": []}, r"batch_size\.choices\.choices: .* at least 1 item"),
    ],
)
def test_a_row_of_the_space_with_an_illegal_value_is_refused(load, row, value, message):
    with pytest.raises(ConfigError, match=message):
        load({f"tune.space.{row}": value})


def test_warm_up_must_end_before_training_and_before_a_trial_does(load):
    epochs = {"train.num_epochs": 5, "tune.num_epochs": 3}
    assert load(epochs | {"baseline.warmup_epochs": 2}).baseline.warmup_epochs == 2
    with pytest.raises(ConfigError, match=r"warmup_epochs must be less than tune\.num_epochs, got 3 and 3"):
        load(epochs | {"baseline.warmup_epochs": 3})
    longer = {"tune.num_epochs": 9, "baseline.warmup_epochs": 5}
    with pytest.raises(ConfigError, match=r"warmup_epochs must be less than train\.num_epochs, got 5 and 5"):
        load(epochs | longer)
    assert load(epochs | longer | {"baseline.num_epochs": 6}).baseline.num_epochs == 6
    wide = {"tune.wide": True, "backbone.warmup_epochs": 4}
    with pytest.raises(ConfigError, match=r"backbone\.warmup_epochs .* search\.num_epochs, got 4 and 4"):
        load(wide | {"search.num_epochs": 4})


@pytest.mark.parametrize("storage", ["data/studies/studies.journal", "sqlite:///studies.db"])
def test_a_cluster_needs_a_study_in_postgresql(load, storage):
    ray = {"execution.backend": "ray"}
    assert load(ray | {"tune.storage": "postgresql://u@h/studies"}).execution.backend == "ray"
    with pytest.raises(
        ConfigError,
        match=(
            r"execution\.backend: ray requires a PostgreSQL database in "
            r"tune\.storage"
        ),
    ):
        load(ray | {"tune.storage": storage})


def test_every_depth_has_its_filters(load):
    with pytest.raises(ConfigError, match=r"model\.filter_multiples: .* at least 5 items"):
        load({"model.filter_multiples": [1, 1, 1, 1]})


def test_nothing_may_be_named_twice(load):
    with pytest.raises(ConfigError, match=r"run\.datasets must not repeat a name"):
        load({"run.datasets": ["sample", "sample"]})


def test_members_of_every_cohort_must_be_known_datasets(load):
    with pytest.raises(ConfigError, match=r"cohorts\.joint has unknown names \['nosuch'\]"):
        load({"cohorts.joint": ["isic", "nosuch"]})


def test_an_image_is_no_known_copy_of_itself(load):
    pairs = [["ISIC_1", "ISIC_2"], ["ISIC_1", "ISIC_3"]]
    assert load({"duplicates.known_pairs": pairs}).duplicates.known_pairs == pairs
    with pytest.raises(
        ConfigError,
        match=(
            r"must have two different images each, got .* twice: \['ISIC_3'\] \(in "
            r"duplicates\)"
        ),
    ):
        load({"duplicates.known_pairs": [*pairs, ["ISIC_3", "ISIC_3"]]})


def test_no_more_lesions_can_have_a_second_view_than_there_are(load):
    assert load({"sample.num_lesions": 10, "sample.num_second_views": 10}).sample.num_second_views == 10
    with pytest.raises(ConfigError, match=r"num_second_views must not exceed num_lesions, got 11 and 10"):
        load({"sample.num_lesions": 10, "sample.num_second_views": 11})


@pytest.mark.parametrize("name", ["brightness", "age_years", "malignant_fraction"])
def test_a_range_of_the_checks_must_not_be_empty(load, name):
    load({f"validate.min_{name}": 0.5, f"validate.max_{name}": 0.5})
    with pytest.raises(ConfigError, match=f"min_{name} must not exceed max_{name}, got 0.6 and 0.5"):
        load({f"validate.min_{name}": 0.6, f"validate.max_{name}": 0.5})


def test_the_hues_of_ink_must_be_a_range(load):
    load({"inspect.ink_min_hue_degrees": 90.0, "inspect.ink_max_hue_degrees": 90.0})
    with pytest.raises(ConfigError, match=r"ink_min_hue_degrees must not exceed .*, got 91 and 90"):
        load({"inspect.ink_min_hue_degrees": 91.0, "inspect.ink_max_hue_degrees": 90.0})


def test_the_recipe_of_the_study_must_end_its_phases_before_training(load):
    study = {"study.cohorts": ["sample"], "backbone.num_epochs": 15, "study.resplit.backbone_features": False}
    phases = {"backbone.frozen_stages": 2, "backbone.unfreeze_epoch": 15, "backbone.warmup_epochs": 14}
    assert load(study | phases).backbone.unfreeze_epoch == 15
    with pytest.raises(ConfigError, match=r"backbone\.warmup_epochs .* than backbone\.num_epochs, got 15 "):
        load(study | {"backbone.warmup_epochs": 15})
    with pytest.raises(ConfigError, match=r"unfreeze_epoch must be at most backbone\.num_.*got 16 and 15"):
        load(study | phases | {"backbone.unfreeze_epoch": 16})
    untrained = study | {"study.transfer.num_seeds": {"baseline": 1}, "backbone.warmup_epochs": 15}
    assert load(untrained).backbone.warmup_epochs == 15
    for section in ("diagnosis", "crops"):
        with pytest.raises(ConfigError, match=r"backbone\.warmup_epochs must be less"):
            load(untrained | {f"study.{section}.recipe": "backbone"})
    without_own = {"backbone.num_epochs": None, "study.protocols.num_epochs": 5}  # which does not train it
    assert load(study | phases | without_own).backbone.unfreeze_epoch == 15


def test_a_small_backbone_of_the_study_is_checked_for_its_own_blocks(load):
    small = {"study.cohorts": ["sample"], "backbone.image_size": 32}
    assert load(small).image_sizes() == [32, 150]
    with pytest.raises(ConfigError, match="image_size 93 leaves no pixel after 5 blocks"):
        load(small | {"baseline.image_size": 93})
    blocks = {f"backbone.{name}": value for name, value in load({}).baseline.model_dump().items()}
    with pytest.raises(ConfigError, match=r"image_size 32 leaves no pixel after 5 blocks; .*backbone\.depth"):
        load(small | blocks | {"backbone.image_size": 32, "backbone.depth": 5})
    assert load(small | blocks | {"backbone.image_size": 32, "backbone.depth": 3})


def test_a_request_has_room_for_the_largest_image(load):
    assert load({"serve.max_request_megapixels": 32}).serve.max_request_megapixels == 32
    with pytest.raises(ConfigError, match=r"max_request_megapixels must be at least .* got 31 and 32"):
        load({"serve.max_request_megapixels": 31})


def test_images_must_be_large_enough_for_the_deepest_network(load):
    # 94 -> 46 -> 22 -> 10 -> 4 -> 1, and 93 -> 45 -> 21 -> 9 -> 3 -> 0.
    size = "baseline.image_size"
    assert load({size: 94}).image_sizes() == [94]
    with pytest.raises(ConfigError, match=r"image_size 93 leaves no pixel after 5 blocks"):
        load({size: 93})
    assert load({size: 93, "tune.space.depth": {"low": 1, "high": 4}}).image_sizes() == [93]
    assert load({size: 93, "tune.space.depth": None}).image_sizes() == [93]


def test_images_are_packed_at_the_baselines_size_and_at_those_of_the_search(load):
    assert load({}).image_sizes() == [150]
    searched = {"tune.space.image_size": {"choices": [224, 150, 96]}}
    assert load(searched).image_sizes() == [96, 150, 224]
    with pytest.raises(ConfigError, match=r"tune\.space\.image_size.*choices"):
        load({"tune.space.image_size": {"low": 96, "high": 224}})  # it would pack 129 sizes


VGG16 = {"baseline.family": "vgg16"}
PRETRAINED = {**VGG16, "baseline.weights": "imagenet"}
EITHER = {"tune.space.family": {"choices": ["conv_blocks", "vgg16"]}}


@pytest.mark.parametrize(
    ("legal", "refused", "complaint"),
    [
        (
            {"baseline.batch_norm": True},
            VGG16 | {"baseline.batch_norm": True},
            "batch_norm is an option of conv_blocks and must be off for family vgg16, got True",
        ),
        (
            VGG16 | {"baseline.residual": None},
            {"baseline.residual": None},
            "residual is required by family conv_blocks, got null (in baseline)",
        ),
        (
            PRETRAINED,
            {"baseline.weights": "imagenet"},
            "weights is an option of vgg16 and efficientnet_lite and applications and must be off for family",
        ),
        (
            {"baseline.frozen_stages": 0},
            {"baseline.frozen_stages": 1},
            "frozen_stages is an option of vgg16 and efficientnet_lite and applications and must be off",
        ),
        (
            PRETRAINED | {"baseline.frozen_stages": 3},
            VGG16 | {"baseline.frozen_stages": 3},
            "frozen_stages 3 without weights would keep random weights",
        ),
        (
            PRETRAINED | {"baseline.frozen_stages": 3, "baseline.unfreeze_epoch": 2},
            PRETRAINED | {"baseline.unfreeze_epoch": 2},
            "unfreeze_epoch needs frozen stages",
        ),
        (
            {"backbone.network": "lite1"},
            {"backbone.network": None},
            "network is required by family efficientnet_lite, got null (in backbone)",
        ),
        (
            {"backbone.dense_units": 0},
            {"baseline.dense_units": 0},
            "dense_units must be at least 1 for family conv_blocks, got 0",
        ),
        (
            EITHER | {"tune.space.filters": {"choices": [16, 32]}},
            VGG16 | {"tune.space.filters": {"choices": [16, 32]}},
            "tune.space.filters has no effect on vgg16",
        ),
        (VGG16 | {"baseline.image_size": 32}, {"baseline.image_size": 32}, "leaves no pixel after 5 blocks"),
        (
            EITHER,
            {"tune.space.family": {"choices": ["conv_blocks", "resnet"]}},
            "tune.space.family: Input should be 'conv_blocks', 'vgg16', 'efficientnet_lite' or",
        ),
        (
            EITHER
            | VGG16
            | {
                f"tune.space.{name}": {"choices": [True]}
                for name in ("batch_norm", "residual", "global_pooling")
            }
            | {"tune.space.filters": {"choices": [8]}},
            EITHER | VGG16,
            "tune.space.family includes conv_blocks, but filters is required by family conv_blocks",
        ),
        (
            {"tune.space.batch_norm": {"choices": [True, False]}},
            {"tune.space.batch_norm": {"choices": [False, 2]}},
            "tune.space.batch_norm: Input should be a valid boolean, got 2",
        ),
    ],
)
def test_a_family_of_networks_has_its_own_options(load, legal, refused, complaint):
    load(legal)
    with pytest.raises(ConfigError, match=re.escape(complaint)):
        load(refused)


def test_networks_are_equal_however_the_file_names_what_neither_has(load):
    one, other = (load(VGG16 | {"baseline.filters": filters}).baseline for filters in (32, None))
    assert one == other
    assert (one.filters, one.batch_norm, one.residual, one.global_pooling) == (None,) * 4


def test_a_row_of_one_family_does_not_bind_a_baseline_of_the_other(load):
    rows: dict[str, object] = {
        f"tune.space.{name}": {"choices": [True]} for name in ("batch_norm", "residual", "global_pooling")
    }
    rows |= EITHER | {"tune.space.filters": {"choices": [8]}}
    assert load(rows | VGG16).baseline.batch_norm is None
    with pytest.raises(ConfigError, match=r"baseline\.filters is trial 0 and must be within .*, got 32"):
        load(rows)


# ---- files that hold no parameters -----------------------------------------------------------


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(
        ConfigError,
        match=(
            r"params\.yaml does not exist. Run in the top folder of the "
            r"repository"
        ),
    ):
        config.load(tmp_path / "params.yaml")


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot be read \(Is a directory\)"):
        config.load(tmp_path)


@pytest.mark.parametrize("content", [b"a: [", b"a: 1\na: 2\n", b"a: \xe9\xff", b"\ta: 1"])
def test_a_file_that_is_no_yaml_is_refused(tmp_path, content):
    (tmp_path / "params.yaml").write_bytes(content)
    with pytest.raises(ConfigError, match=r"params\.yaml is not valid YAML"):
        config.load(tmp_path / "params.yaml")


@pytest.mark.parametrize("content", ["", "[]", "5", "words"])
def test_a_file_that_holds_no_sections_is_refused(tmp_path, content):
    (tmp_path / "params.yaml").write_text(content)
    with pytest.raises(ConfigError, match="must be a mapping of sections, got"):
        config.load(tmp_path / "params.yaml")


# ---- crops -----------------------------------------------------------------------------------


def test_crops_by_a_network_need_the_network(load):
    with pytest.raises(ConfigError, match=r"unet requires segment\.train: true; set it, or"):
        load({"pack.crop": "unet"})
    params = load({"pack.crop": "unet", "segment.train": True})
    assert (params.pack.crop, params.segment.train) == ("unet", True)


def test_a_picture_that_cannot_be_halved_so_often_is_refused(load):
    with pytest.raises(
        ConfigError, match="image_size must be a multiple of 16 to be halved 4 times, got 100"
    ):
        load({"segment.image_size": 100})
    assert load({"segment.image_size": 100, "segment.depth": 2}).segment.image_size == 100


@pytest.mark.parametrize("kinds", [["mask", "unet"], ["none", "mask", "mask"]])
def test_crops_are_compared_with_whole_pictures_and_each_once(load, kinds):
    with pytest.raises(ConfigError, match="kinds must include none and not repeat a kind"):
        load({"study.crops.kinds": kinds})
    assert load({"study.crops.kinds": ["none", "mask"]}).study.crops.kinds == ["none", "mask"]


def test_each_kind_of_source_is_left_out_once(load):
    with pytest.raises(ConfigError, match="kinds must not repeat a kind"):
        load({"study.transfer.kinds": ["dataset", "dataset"]})
    for wrong in ([], ["clinic"]):
        with pytest.raises(ConfigError, match=r"study\.transfer\.kinds"):
            load({"study.transfer.kinds": wrong})
    assert load({"study.transfer.kinds": ["dataset"]}).study.transfer.kinds == ["dataset"]


def test_the_study_is_of_whole_pictures(load):
    with pytest.raises(
        ConfigError, match=r"study needs whole images.*set pack\.crop: none or study\.cohorts"
    ):
        load({"study.cohorts": ["sample"], "pack.crop": "mask"})
    assert load({"study.cohorts": ["sample"]}).pack.crop == "none"
    assert load({"pack.crop": "mask"}).study.cohorts == []


def test_a_kind_of_network_is_studied_once(load):
    kind = {"family": "conv_blocks", "depth": 1}
    with pytest.raises(ConfigError, match=r"networks\.sample must not repeat a name, got \['conv_blocks_1'"):
        load({"study.protocols.networks": {"sample": [kind, kind]}})
    with pytest.raises(ConfigError, match="compared must not repeat a name"):
        load({"study.protocols.compared": ["paper", "paper"]})
    other = {"family": "conv_blocks", "depth": 2}
    assert (
        len(load({"study.protocols.networks": {"sample": [kind, other]}}).study.protocols.networks["sample"])
        == 2
    )


def test_images_must_be_large_enough_for_the_networks_of_the_study_too(load):
    deep = {"study.protocols.networks": {"sample": [{"family": "conv_blocks", "depth": 5}]}}
    small = {"baseline.image_size": 32, "tune.space.depth": {"low": 1, "high": 3}}
    with pytest.raises(
        ConfigError, match=r"no pixel after 5 blocks; raise it, or lower .*protocols\.networks"
    ):
        load({**deep, **small, "study.cohorts": ["sample"]})
    assert load({**deep, **small}).study.cohorts == []  # it is not trained
    padded = {"study.protocols.networks": {"sample": [{"family": "vgg16", "depth": 5}]}}
    assert load({**padded, **small, "study.cohorts": ["sample"]}).baseline.image_size == 32


@pytest.mark.parametrize("section", ["protocols", "diagnosis", "crops", "transfer"])
def test_warm_up_must_end_before_a_network_of_the_study_does(load, section):
    long = {"baseline.warmup_epochs": 2, f"study.{section}.num_epochs": 2}
    with pytest.raises(ConfigError, match=rf"must be less than study\.{section}\.num_epochs, got 2 and 2"):
        load({**long, "study.cohorts": ["sample"]})
    assert load(long).study.cohorts == []


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"serve.max_server_megabytes": 127},
            "max_server_megabytes must be at least twice .* got 127 and 64",
        ),
        (
            {"serve.max_server_megapixels": 799},
            "max_server_megapixels must be at least twice .* got 799 and 400",
        ),
        ({"serve.max_image_megapixels": 65}, r"serve\.max_image_megapixels: .*less than or equal to 64"),
    ],
)
def test_a_server_takes_every_request_that_it_allows(load, changes, reason):
    with pytest.raises(ConfigError, match=reason):
        load(changes)
    assert load({"serve.max_server_megabytes": 128, "serve.max_image_megapixels": 64})
