"""Looks at test images: each time that a model is scored on some, the ledger keeps which.

Results on test images become more optimistic with each look. A look concerns images, not a set: where a test
set gains or loses an image, earlier looks at the others still count, with the share that they saw.
An image is known by its `image_id`, which is unique over all datasets, and by a digest of its pixels, so that
the same picture under another id is no new one.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from melanoma.errors import TrackingError
from melanoma.registry import ledger
from melanoma.registry.ledger import LOOK, Entry

CHOOSING = "promote"  # the purpose of looks by which a model is chosen
OF_TEST_SETS = ("evaluate", "audit", CHOOSING)  # purposes of looks at a whole test set; others may differ
SET_TAG = "test_digest"
NUM_IMAGES_TAG = "num_test_images"  # earlier versions, which did not keep the images, lack it
IMAGES, IMAGE_IDS = "images", "image_ids"  # in the evidence: digest by id; earlier versions kept the ids only
Images = (
    Mapping[str, str] | Iterable[str]
)  # digest of the pixels by image_id, or ids if digests are not known


@dataclass(frozen=True)
class Look:
    """One earlier look at some of the images in question.

    Attributes:
        at: Time of the record, UTC.
        registered_model: Name of the registered model (by cohort) for which it was recorded.
        purpose: The stage: `evaluate`, `audit`, `promote`, `crossvalidate` or a stage of the study.
        model_digest: Identity of the model, see `record`.
        run_id: MLflow run of the model.
        share: Fraction of the images in question that it scored, above 0 and at most 1.
    """

    at: datetime
    registered_model: str
    purpose: str
    model_digest: str
    run_id: str
    share: float


@dataclass(frozen=True)
class Looks:
    """How often models were scored on test images.

    Attributes:
        num_looks: Number of looks at one of the images or more.
        num_models: Number of different models.
        num_choices: Number of looks that promoted or refused a model.
        share: Mean fraction of the images that a look scored; nan without looks. `num_looks * share` is the
            number of looks at an image, on average.
        is_at_least: Whether there are looks at sets whose images earlier versions did not keep: they may have
            scored some of the images too.
    """

    num_looks: int
    num_models: int
    num_choices: int
    share: float
    is_at_least: bool


@dataclass(frozen=True)
class EarlierLooks:
    """The looks at some of the images in question, oldest first.

    Attributes:
        looks: Those that are known.
        num_unknown: Number of looks at sets whose images were not kept.
    """

    looks: tuple[Look, ...]
    num_unknown: int

    def models(self, *, purpose: str = CHOOSING, since: datetime | None = None) -> list[str]:
        """Digests of the models that were scored for a purpose, after `since` if given, in order."""
        found = (
            look.model_digest
            for look in self.looks
            if look.purpose == purpose and (since is None or look.at > since)
        )
        return list(dict.fromkeys(found))

    def count(self) -> Looks:
        """How many they are."""
        looks, num_looks = self.looks, len(self.looks)
        return Looks(
            num_looks=num_looks,
            num_models=len({look.model_digest for look in looks}),
            num_choices=sum(look.purpose == CHOOSING for look in looks),
            share=sum(look.share for look in looks) / num_looks if num_looks else float("nan"),
            is_at_least=self.num_unknown > 0,
        )


def digest_of_images(image_ids: Iterable[str]) -> str:
    """Identity of a set of images, in any order."""
    return hashlib.sha256("\n".join(sorted(image_ids)).encode()).hexdigest()


def record(
    name: str,
    *,
    images: Images,
    model: str,
    model_digest: str,
    purpose: str,
    run_id: str,
    once: bool = False,
) -> None:
    """Record that a model was scored on test images.

    Args:
        name: Name of the registered model of the cohort, also where the scored model is never registered.
        images: The images, see `Images`; copies of an image may repeat its id.
        model: Readable name, for instance `baseline`.
        model_digest: Identity of the model; the same model twice counts as one model and two looks.
        purpose: The stage, see `Look`.
        run_id: MLflow run of the model.
        once: Record nothing where this run has a look with this purpose at these images already: a stage that
            resumes scores its finished networks again.
    """
    digests = _digests(images)
    tags = {
        "model": model,
        "purpose": purpose,
        "run_id": run_id,
        SET_TAG: digest_of_images(digests),
        "model_digest": model_digest,
    }
    if once and ledger.entries(name, is_deleted=False, kind=LOOK, **tags):
        return
    ledger.add(
        name,
        LOOK,
        by=f"pipelines.{purpose}",
        reason=f"scored to {purpose}",
        tags=tags | {NUM_IMAGES_TAG: len(digests)},
        evidence={IMAGES: digests},
    )


def _digests(images: Images) -> dict[str, str]:
    """The digest of each image by id, in the order of the ids; empty where it is not known."""
    known = dict(images) if isinstance(images, Mapping) else dict.fromkeys(images, "")
    return dict(sorted(known.items()))


def earlier(images: Images) -> EarlierLooks:
    """All looks recorded so far, of all models and cohorts, at one of these images or more.

    `earlier(images).models()` are the distinct models that `promote` judged before on some of these images.
    Each distinct set of images is read once from the artifact store, not once per look.
    """
    asked, entries = _digests(images), ledger.entries(kind=LOOK)
    digest = digest_of_images(asked)
    return _among(entries, _images_by_set(entries) | {digest: asked}, digest)


def count_by_set(name: str) -> dict[str, Looks]:
    """Looks of all models at each test set of a registered model, by the set's digest."""
    entries = ledger.entries(kind=LOOK)
    images = _images_by_set(entries)
    mine = (entry.tags for entry in entries if entry.tags["registered_model"] == name)
    digests = {tags[SET_TAG] for tags in mine if tags["purpose"] in OF_TEST_SETS}
    return {digest: _among(entries, images, digest).count() for digest in sorted(digests)}


def _images_by_set(entries: list[Entry]) -> dict[str, dict[str, str] | None]:
    """The images of each set by its digest; None where no entry kept them, or the artifact is gone."""
    images: dict[str, dict[str, str] | None] = {}
    for entry in entries:
        digest = entry.tags[SET_TAG]
        if images.get(digest) is None:
            images[digest] = _images_of(entry)
    return images


def _among(entries: list[Entry], images: dict[str, dict[str, str] | None], digest: str) -> EarlierLooks:
    """The looks at some of the images of the set `digest`; where these are unknown, at exactly this set."""
    asked, shares = images[digest], {digest: 1.0}
    for other, seen in images.items():
        if other != digest and asked and seen is not None:
            shares[other] = _share_seen(asked, seen)
    looks = [_look(entry, share) for entry in entries if (share := shares.get(entry.tags[SET_TAG]))]
    return EarlierLooks(tuple(looks), sum(entry.tags[SET_TAG] not in shares for entry in entries))


def _share_seen(asked: dict[str, str], seen: dict[str, str]) -> float:
    """Fraction of the images in question that are in another set, by id or by pixels."""
    pixels = set(seen.values()) - {""}
    return sum(name in seen or digest in pixels for name, digest in asked.items()) / len(asked)


def _look(entry: Entry, share: float) -> Look:
    said = entry.tags
    return Look(
        at=entry.at,
        registered_model=said["registered_model"],
        purpose=said["purpose"],
        model_digest=said["model_digest"],
        run_id=said.get("run_id", ""),
        share=share,
    )


def _images_of(entry: Entry) -> dict[str, str] | None:
    """The images of a look; None where an earlier version did not keep them, or the artifact is gone."""
    if NUM_IMAGES_TAG not in entry.tags:
        return None
    try:
        return _read_images(entry.run_id, entry.tags[SET_TAG])
    except TrackingError:
        return None


@lru_cache(maxsize=512)
def _read_images(run_id: str, digest: str) -> dict[str, str]:
    """The images that a look keeps.

    Raises:
        TrackingError: The artifact is gone, or its images are not those of `digest`.
    """
    evidence = ledger.evidence(run_id)
    images = _digests(evidence.get(IMAGES) or evidence.get(IMAGE_IDS, []))
    if digest_of_images(images) != digest:
        raise TrackingError(f"The ledger's entry {run_id} does not hold the images of {digest[:12]}.")
    return images
