"""The anchor of a registered model: the version that no challenger may be worse than.

A challenger may lose a little against the champion without being refused, so a series of champions could go
slowly downhill. The anchor stays where it is until a version is shown to be better, and each challenger is
compared with it as well. It starts anew with the next promotion if the images or the task change (`terms`),
and if no version holds the alias. Entries of the ledger that move `staging` forward keep it in their tags.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from melanoma.registry import ledger
from melanoma.registry.versions import STAGING

VERSION_TAG, TERMS_TAG, SINCE_TAG = "anchor_version", "anchor_terms", "anchor_since"


@dataclass(frozen=True)
class Anchor:
    """The anchor for the next promotion.

    Attributes:
        version: Its number; None if it starts anew.
        terms: What must stay the same: plan of the splits and target of the network.
        since: Start of the first anchor under these terms, UTC. Models that were judged on the same images
            since then are attempts. Without an anchor, the last promotion under other terms; None if unknown.
    """

    version: int | None
    terms: str
    since: datetime | None

    def tags(self, promoted: int, *, is_better: bool) -> dict[str, object]:
        """Tags of the entry of a version that takes the alias.

        Args:
            promoted: Number of the version.
            is_better: Whether it was shown to be better than the anchor.
        """
        stays = self.version is not None
        since = self.since if stays and self.since is not None else datetime.now(UTC)
        return {
            VERSION_TAG: self.version if stays and not is_better else promoted,
            TERMS_TAG: self.terms,
            SINCE_TAG: since.isoformat(),
        }


def find(name: str, champion: int | None, terms: str) -> Anchor:
    """The anchor that was valid when the champion took the alias, also after a rollback to it.

    A champion without such tags (an earlier version of the code promoted it, or a person set the alias) is
    the anchor itself.

    Args:
        name: Name of the registered model.
        champion: Number of the version that holds `staging`; None if none does.
        terms: Present terms, see `Anchor`.
    """
    if champion is None:
        return Anchor(None, terms, None)
    taken = [
        entry
        for entry in ledger.moves(name, STAGING)
        if entry.version == champion and entry.kind in (ledger.PROMOTE, ledger.ACCEPT)
    ]
    if not taken or VERSION_TAG not in taken[-1].tags:
        return Anchor(champion, terms, taken[-1].at if taken else None)
    last = taken[-1]
    if last.tags[TERMS_TAG] != terms:
        return Anchor(None, terms, last.at)
    return Anchor(int(last.tags[VERSION_TAG]), terms, datetime.fromisoformat(last.tags[SINCE_TAG]))
