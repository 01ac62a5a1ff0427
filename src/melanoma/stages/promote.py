"""Stage `promote`: register the selected model, judge it, move the alias, and write the model card."""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from melanoma import files, fingerprint, lineage, schema, tracking
from melanoma.config import Params
from melanoma.config.evaluation import Promote
from melanoma.data import crops, packed, tables
from melanoma.data.groups import splits
from melanoma.errors import DataError, TrackingError
from melanoma.evaluation import asked_and_got, gate, headline, model_card
from melanoma.evaluation.bootstrap import Draws
from melanoma.registry import acceptance, anchors, ledger, looks, moves, versions
from melanoma.stages import champion_scores, shadow_rows, test_set_looks
from melanoma.stages.candidate import Candidate
from melanoma.training import studies

BY = "pipelines.promote"
KEY_METRICS = ("auc_roc", "specificity_at_95_sensitivity", "brier_skill")
BASELINE = schema.MODEL_NAMES[0]


def run(args: argparse.Namespace, params: Params) -> str:
    """Promote or refuse the selected model, write and log all outputs; return the verdict in words.

    Args:
        args: Command line of `pipelines.promote`.
        params: Content of params.yaml.
    """
    candidate = _load_candidate(args, params)
    summary = promote(candidate, params.promote)
    audit = files.read_json(args.audit)
    summary["audit_warnings"] = audit["warnings"]
    summary["operating_point"] = asked_and_got.described(
        candidate.entry["operating_point"], candidate.metrics[schema.TEST]
    )
    files.write_text(_model_card(args, params, candidate, summary), args.card)
    tracking.resume_run(candidate.entry["run_id"]).log_file(args.card)
    versions.describe(candidate.name, summary["version"], args.card.read_text(encoding="utf-8"))
    results = headline.gather(
        metrics=files.read_json(args.metrics),
        models=files.read_json(args.models),
        predictions=candidate.predictions,
        audit=audit,
        comparison=files.read_json(args.seeds),
        search=studies.summary_line(files.read_json(args.tuning)),
        promotion=summary,
        slices=candidate.slices,
    )
    files.write_json(results, args.headline)
    files.write_json(summary, args.out)
    return headline.verdict(summary)


def _load_candidate(args: argparse.Namespace, params: Params) -> Candidate:
    models = files.read_json(args.models)
    model, data = models["selected"], packed.open_packed(args.packed)
    assigned = splits.read_assigned(args.assigned)
    return Candidate(
        cohort=args.cohort,
        model=model,
        entry=models[model],
        metrics=files.read_json(args.metrics)[model],
        data=data,
        predictions=tables.read_predictions(args.predictions, data.index),
        references=tables.read_references(args.references, data.index),
        slices=files.read_json(args.slices)[model],
        assigned=assigned,
        accepted=tables.read_tables(args.accepted, params.members(args.cohort), tables.ACCEPTED_COLUMNS),
        terms=f"{'; '.join(sorted(assigned['plan'].unique()))}; target "
        f"{params.model.target}; positive: {data.positive_means}",
        num_bins=params.evaluate.num_calibration_bins,
        draws=Draws(params.evaluate.num_bootstrap_draws, params.evaluate.seed),
    )


def promote(candidate: Candidate, rules: Promote) -> dict[str, Any]:
    """Register and judge a model; give it the alias `staging` if it passes.

    Safe to rerun after an interruption.

    Args:
        candidate: The model.
        rules: Section `promote` of params.yaml.

    Returns:
        Content of `promotion.json`.
    """
    run = tracking.resume_run(candidate.entry["run_id"])
    with moves.exclusive(candidate.name), tempfile.TemporaryDirectory(prefix="promote-") as folder:
        version = _register(candidate)
        versions.require_untouched(version, Path(folder))
        versions.set_alias(candidate.name, versions.CHALLENGER, version.version)
        champion = versions.find_version(candidate.name, versions.STAGING)
        rivals, anchor = _rivals(candidate, version, champion)
        attempt = _attempt(candidate, anchor)
        contest, notes = champion_scores.prepare_contest(candidate, rivals, Path(folder), attempt=attempt)
        in_shadow = shadow_rows.load(rules, version, champion, cohort=candidate.cohort)
        verdict = gate.judge(replace(contest, shadow=in_shadow), rules) | notes
        verdict["anchor_version"] = anchor.version
        verdict["looks"] = test_set_looks.record(
            candidate.name, candidate.data, candidate.model, candidate.entry, purpose=looks.CHOOSING
        )
        previous = versions.predecessor(version, champion)
        accepted = acceptance.read(candidate.name, int(version.version))
        is_holder = champion is not None and champion.version == version.version
        word = acceptance.word(verdict, accepted, is_holder=is_holder)
        versions.note_verdict(version, run, verdict["reasons"], word=word, previous=previous)
        _carry_out(candidate, int(version.version), verdict, anchor)
        holder = moves.holder_of(candidate.name, versions.STAGING)
    return {
        "registered_model": candidate.name,
        "version": int(version.version),
        "model": candidate.model,
        "is_promoted": verdict.pop("is_passed"),
        "previous_version": previous,
        "staging_version": holder,
        "accepted": accepted if word == versions.ACCEPTED else None,
        "is_synthetic": candidate.data.is_synthetic,
        "positive_means": candidate.data.positive_means,
        "data_digest": candidate.data.digest,
        "crop": crops.kind_of(candidate.data.crop),
        "test_digest": test_set_looks.test_digest(candidate.data),
        **verdict,
    }


def _rivals(
    candidate: Candidate, version: versions.Version, champion: versions.Version | None
) -> tuple[dict[str, versions.Version], anchors.Anchor]:
    """The versions to compare the challenger with, by role, and the anchor of the registered model.

    A holder that is judged again is not its own champion: a difference of 0 would be no evidence.
    """
    holder = None if champion is None else int(champion.version)
    anchor = anchors.find(candidate.name, holder, candidate.terms)
    if champion is None or holder == int(version.version):
        return {}, anchor
    _require_same_positive(candidate, champion)
    rivals = {"champion": champion}
    if anchor.version not in (None, holder, int(version.version)):
        rivals["anchor"] = versions.get_version(candidate.name, anchor.version)
    return rivals, anchor


def _require_same_positive(candidate: Candidate, champion: versions.Version) -> None:
    """Refuse to compare two models that call different lesions positive."""
    ours = candidate.data.positive_means
    theirs = champion.tags.get("positive_means", ours)  # not recorded by earlier code
    if theirs != ours:
        raise DataError(
            f"{candidate.name} version {champion.version} holds the alias {versions.STAGING} and calls "
            f"positive: {theirs}. The challenger calls positive: {ours}. They answer different questions and "
            "cannot be compared. Nothing was moved. To serve the new meaning, remove the alias "
            f"{versions.STAGING}: the next version is then judged without a champion and becomes the anchor."
        )


def _attempt(candidate: Candidate, anchor: anchors.Anchor) -> int:
    """Place of this model among those judged on some of the test images since the anchor's start, from 1.

    A model that is judged again keeps its place.
    """
    judged = looks.earlier(test_set_looks.images(candidate.data)).models(since=anchor.since)
    mine = test_set_looks.model_digest(candidate.entry)
    return [*judged, mine].index(mine) + 1


def _register(candidate: Candidate) -> versions.Version:
    measured, run = candidate.metrics[schema.TEST], tracking.read_run(candidate.entry["run_id"])
    with tempfile.TemporaryDirectory(prefix="register-") as folder:
        model = tracking.download(candidate.entry["model_uri"], Path(folder))
        settings = model / "artifacts" / "settings.json"
        _require_operating_point(candidate, settings)
        settings_digest = fingerprint.sha256_of_file(settings)
    tags = {
        versions.DIGEST_TAG: test_set_looks.model_digest(candidate.entry),
        versions.NETWORK_TAG: candidate.entry["network_sha256"],
        versions.SETTINGS_TAG: settings_digest,
        **{tag: candidate.entry[tag] for tag in (fingerprint.FILES_TAG, fingerprint.CODE_TAG)},
        **_crop_tags(candidate),
        "cohort": candidate.cohort,
        "model": candidate.model,
        "data_digest": candidate.data.digest,
        "is_synthetic": str(candidate.data.is_synthetic).lower(),
        "positive_means": candidate.data.positive_means,
        "run_id": candidate.entry["run_id"],
        "tuning_run_id": run.data.tags.get("tuning_run_id", ""),
        **lineage.commit_tags(),
        **{f"test_{name}": str(measured[name]["value"]) for name in KEY_METRICS},
    }
    return versions.register(candidate.name, candidate.entry["model_uri"], tags=tags, about=_about(candidate))


def _about(candidate: Candidate) -> str:
    """Description of the registered model."""
    kind = (
        "SYNTHETIC images, so it knows nothing about skin" if candidate.data.is_synthetic else "real images"
    )
    return (
        f"Answers negative, refer or positive to a dermoscopic image, with a calibrated probability of "
        f"positive. Positive means {candidate.data.positive_means}. Trained on cohort {candidate.cohort}: "
        f"{kind}. {schema.NOT_A_DEVICE.capitalize()}.\n\n"
        f"Serve it: `make serve COHORT={candidate.cohort}`, or `mlflow models serve -m "
        f"models:/{candidate.name}@{versions.STAGING} --env-manager local`. The gates move the alias "
        "staging, people move production; the experiment registry-ledger records each move."
    )


def _crop_tags(candidate: Candidate) -> dict[str, str]:
    """Kind of crop; for crops by a U-Net also its digest."""
    crop = candidate.data.crop
    digest = None if crop is None else crop.segmenter_sha256
    tags = {"crop": crops.kind_of(crop)}
    return tags if digest is None else tags | {versions.SEGMENTER_TAG: digest}


def _require_operating_point(candidate: Candidate, settings: Path) -> None:
    """Refuse a logged model that serves another operating point than the evaluated one."""
    if files.read_json(settings)["operating_point"] != candidate.entry["operating_point"]:
        raise TrackingError(
            f"The logged model {candidate.entry['model_uri']} and models.json have different operating "
            "points: one of them was changed. Nothing was moved. Run `dvc repro --force evaluate`."
        )


def _carry_out(candidate: Candidate, number: int, verdict: dict[str, Any], anchor: anchors.Anchor) -> None:
    """Move the alias, or record the refusal with what `pipelines.accept` needs to know."""
    if verdict["is_passed"]:
        judged = [entry for entry in verdict["gates"] if entry["is_judged"]]
        reason = f"passed {len(judged)} gates, {len(verdict['gates']) - len(judged)} not judged"
        moves.move_alias(
            candidate.name,
            versions.STAGING,
            number,
            kind=ledger.PROMOTE,
            by=BY,
            reason=reason,
            evidence=verdict,
            tags=anchor.tags(number, is_better=_is_better_than_anchor(verdict)),
        )
        return
    reasons = "; ".join(verdict["reasons"])
    ledger.add(
        candidate.name,
        ledger.REFUSAL,
        by=BY,
        reason=reasons,
        tags={"alias": versions.STAGING, "version": number}
        | anchor.tags(number, is_better=False)
        | acceptance.tags(verdict),
        evidence=verdict,
    )


def _is_better_than_anchor(verdict: dict[str, Any]) -> bool:
    """Whether the spent interval shows a gain in the primary metric against the anchor."""
    against_champion = verdict.get("challenger_minus_champion")  # which is the anchor if there is no other
    lead = verdict.get("challenger_minus_anchor", against_champion)
    return lead is not None and lead[verdict["primary_metric"]]["low"] > 0


def _model_card(
    args: argparse.Namespace, params: Params, candidate: Candidate, summary: dict[str, Any]
) -> str:
    tuning = files.read_json(args.tuning)
    used = params.baseline.model_dump() if candidate.model == BASELINE else tuning["best"]["hyperparameters"]
    return model_card.write(
        model_card.Sources(
            model=candidate.model,
            entry=candidate.entry,
            metrics=files.read_json(args.metrics),
            slices=candidate.slices,
            audit=files.read_json(args.audit),
            promotion=files.as_json(summary),
            split=files.read_json(args.split),
            seeds=files.read_json(args.seeds),
            search=studies.summary_line(tuning),
            licences=_licences(args, params, candidate),
            hyperparameters={name: value for name, value in used.items() if value is not None},
            min_slice_groups=params.evaluate.min_slice_groups,
        )
    )


def _licences(args: argparse.Namespace, params: Params, candidate: Candidate) -> pd.DataFrame:
    """Number of images of the cohort by licence and attribution."""
    columns = ["image_id", "licence", "attribution"]
    records = tables.read_tables(args.accepted, params.members(args.cohort), columns)
    records = records[records["image_id"].isin(candidate.data.index["image_id"])]
    by = ["dataset", "licence", "attribution"]
    return records.groupby(by, dropna=False).size().reset_index(name="images")
