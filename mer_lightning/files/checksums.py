"""Hashes of a round's files, so that what a disk or a copy damaged is noticed and trained again.

They stand in the form of ``sha256sum``: ``sha256sum --check SHA256SUMS`` in a round's folder checks them too.
"""

import errno
import hashlib
from pathlib import Path

from mer_lightning.errors import UserError

# what a round writes; what else lies there is not ours
NAMES = (
    *("round.json", "network.json"),
    *(f"{part}.safetensors" for part in ("module", "masks", "optimizer", "random", "network")),
    *(f"{part}.safetensors" for part in ("held_out", "stopping", "test")),
)
DAMAGE = (errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.EIO)  # what a file that cannot be read may be


def sha256(path: Path) -> str:
    """The hexadecimal digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def damaged(path: Path) -> str | None:
    """The name of a file that is not as it was when ``path`` was written; None if all are.

    Raises UserError where that cannot be seen, for want of the right to read say.
    """
    try:
        written = path.read_text(encoding="utf-8", errors="replace")
        found = _hashes(path.parent)
    except OSError as error:
        name = Path(error.filename or path)
        if error.errno in DAMAGE:
            return name.name
        raise UserError(f"{name}: cannot be read: {error.strerror}; the round in it is kept") from error
    odd = [name for name, digest in found.items() if f"{digest}  {name}\n" not in written]
    return next(iter(odd), None if len(found) == written.count("\n") else path.name)


def _hashes(folder: Path) -> dict[str, str]:
    return {p.name: sha256(p) for p in sorted(folder.iterdir()) if p.name in NAMES}
