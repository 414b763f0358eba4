"""Hashes of the files of a round, a model or a store, so that what a disk or a copy damaged is noticed.

They stand in the form of ``sha256sum``: ``sha256sum --check SHA256SUMS`` in the folder checks them too.
"""

import errno
import hashlib
from pathlib import Path

from mer_lightning.errors import UserError, reading

CHECKSUMS = "SHA256SUMS"
ROUND = (  # what a round may write; what else lies in its folder is not ours
    *("round.json", "network.json"),
    *(f"{part}.safetensors" for part in ("module", "masks", "optimizer", "random", "network")),
    *(f"{part}.safetensors" for part in ("held_out", "stopping", "test")),
)
DAMAGE = (errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.EIO)  # what a file that cannot be read may be


def sha256(path: Path) -> str:
    """The hexadecimal digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_checksums(folder: Path) -> None:
    """Write ``SHA256SUMS`` with the hashes of all files in a new folder."""
    lines = [f"{sha256(path)}  {path.name}\n" for path in sorted(folder.iterdir()) if path.name != CHECKSUMS]
    (folder / CHECKSUMS).write_text("".join(lines), encoding="utf-8")


def is_whole(path: Path) -> bool:
    """Whether a file is as it was when ``SHA256SUMS`` beside it was written.

    Raises OSError if one of the two cannot be read.
    """
    written = path.with_name(CHECKSUMS).read_text(encoding="utf-8", errors="replace")
    return f"{sha256(path)}  {path.name}\n" in written


def check_whole(path: Path, remedy: str) -> None:
    """A UserError with the remedy for a file that is not."""
    with reading(path, remedy):
        if not is_whole(path):
            raise ValueError(f"its hash is not the one in {CHECKSUMS}")


def damaged(folder: Path) -> str | None:
    """The name of a file of a round that is not as it was written; None if all are.

    Raises UserError where that cannot be seen, for example without the right to read.
    """
    try:
        text = (folder / CHECKSUMS).read_text(encoding="utf-8", errors="replace")
        listed = {name: digest for digest, _, name in (line.partition("  ") for line in text.splitlines())}
        present = {path.name for path in folder.iterdir()}.intersection(ROUND)
        for name in sorted(present | listed.keys()):
            if name not in listed or name not in ROUND:
                return CHECKSUMS
            if sha256(folder / name) != listed[name]:
                return name
    except OSError as error:
        path = Path(error.filename or folder)
        if error.errno in DAMAGE:
            return path.name
        raise UserError(f"{path}: cannot be read: {error.strerror}; the round in it is kept") from error
    return None
