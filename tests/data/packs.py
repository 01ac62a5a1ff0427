"""Packed cohorts that tests change."""

from pathlib import Path

from melanoma.data import packed
from melanoma.files import read_json, write_json
from melanoma.fingerprint import sha256_of_file


def reseal(folder: Path, **changes: object) -> None:
    """Give a changed pack a manifest that agrees with its files but for `changes`."""
    path = folder / packed.MANIFEST
    manifest = read_json(path)
    sha256_of_size = {
        int(size): sha256_of_file(folder / packed.images_name(int(size)))
        for size in manifest["sha256_of_size"]
    }
    sealed = {
        "digest": packed.digest_of(folder, sha256_of_size),
        "sha256_of_size": {str(size): sha256 for size, sha256 in sha256_of_size.items()},
    }
    path.unlink()  # it may be a link into DVC's cache
    write_json(manifest | sealed | changes, path)
