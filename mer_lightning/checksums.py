"""Hashes of a round's files, so that what a disk or a copy damaged is noticed and trained again.

They stand in the form of ``sha256sum``: ``sha256sum --check SHA256SUMS`` in a round's folder checks them too.
"""

import hashlib
from pathlib import Path

KINDS = (".json", ".safetensors")  # what a round writes; what else lies there is not ours


def sha256(path: Path) -> str:
    """The hexadecimal digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_checksums(path: Path) -> None:
    """Write ``path`` with the hashes of the files beside it."""
    lines = [f"{digest}  {name}\n" for name, digest in _hashes(path.parent).items()]
    path.write_text("".join(lines), encoding="utf-8")


def damaged(path: Path) -> str | None:
    """The name of a file that is not as it was when ``path`` was written; None if all are."""
    try:
        written = path.read_text(encoding="utf-8", errors="replace")
        found = _hashes(path.parent)
    except OSError as error:
        return Path(error.filename or path).name
    odd = [name for name, digest in found.items() if f"{digest}  {name}\n" not in written]
    return next(iter(odd), None if len(found) == written.count("\n") else path.name)


def _hashes(folder: Path) -> dict[str, str]:
    return {p.name: sha256(p) for p in sorted(folder.iterdir()) if p.suffix in KINDS}
