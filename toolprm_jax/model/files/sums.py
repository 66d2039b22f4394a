"""SHA-256 of weight files, in the form of `sha256sum`, beside them."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ...records import DataError

SUMS_FILE = "SHA256SUMS"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_sums(directory: Path) -> None:
    """Writes the SHA-256 of every safetensors file of a directory; `sha256sum -c` reads them."""
    lines = [f"{_sha256(path)}  {path.name}\n" for path in sorted(directory.glob("*.safetensors"))]
    (directory / SUMS_FILE).write_text("".join(lines))


def check_sums(path: Path) -> None:
    """Compares a weight file with the SHA-256 that was written beside it, if any was.

    Raises:
      DataError: the file is another than the one that was written.
    """
    sums = path.parent / SUMS_FILE
    if not sums.is_file():
        return
    for line in sums.read_text(encoding="utf-8", errors="replace").splitlines():
        digest, _, name = line.partition("  ")
        if name == path.name and digest != _sha256(path):
            raise DataError(
                f"{path}: damaged: its SHA-256 is not that of {SUMS_FILE} (to be removed where "
                "the weights were changed on purpose)"
            )
