"""Files and folders that are there whole or not at all: written under a temporary name, then moved."""

import os
import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from mer_lightning.errors import MAKE_SPACE, UserError, disk_full

UNFINISHED = ".unfinished"  # how temporary names end


def write_text(path: Path, text: str) -> None:
    """Write a file, UTF-8, whole or not at all: to a temporary name beside it, then moved."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """The same for any content."""
    with new_file(path, "wb") as file:
        file.write(content)


@contextmanager
def new_file(path: Path, mode: str = "w") -> Iterator[IO[Any]]:
    """A temporary file beside ``path``, UTF-8 or (``wb``) bytes; it takes its name if the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(UNFINISHED, f".{path.name}.", path.parent)
    try:
        text = {} if "b" in mode else {"encoding": "utf-8", "newline": ""}
        with _full_disk_named(path), os.fdopen(handle, mode, **text) as file:  # type: ignore[call-overload]
            yield file
        Path(temporary).chmod(0o644)
        os.replace(temporary, path)  # noqa: PTH105  (replaces on every platform)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside ``path`` which takes its name if the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(UNFINISHED, f".{path.name}.", path.parent))
    try:
        with _full_disk_named(path):
            yield temporary
        for made in temporary.rglob("*"):
            made.chmod(0o755 if made.is_dir() else 0o644)  # some libraries write for the owner alone
        temporary.chmod(0o755)
        shutil.rmtree(path, ignore_errors=True)  # an older one of ours: its caller has seen to that
        os.replace(temporary, path)  # noqa: PTH105
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def refuse_strangers(folder: Path, names: Collection[str]) -> None:
    """A UserError where a folder that is to be replaced holds what is not among the ``names`` of ours."""
    strangers = sorted({path.name for path in folder.iterdir()}.difference(names)) if folder.is_dir() else []
    if strangers:
        raise UserError(
            f"{folder} would be replaced, and holds {strangers[0]}, which is not of this program: move it"
        )


@contextmanager
def _full_disk_named(path: Path) -> Iterator[None]:
    """A UserError instead of what writing to a full disk, or beyond one's quota, raises."""
    try:
        yield
    except Exception as error:
        if disk_full(error):
            raise UserError(f"{path}: no space is left on its disk; {MAKE_SPACE}") from error
        raise
