"""A user's mistake, what is not installed, full disks and damaged files."""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

MAKE_SPACE = "what was written before is whole: make space, and the same command goes on"
SAFETENSORS_FULL = re.compile(rf"(?:os error|code:) {errno.ENOSPC}\b")  # as its versions put it
LONGEST = 2000  # characters of a message


class UserError(Exception):
    """Something the user can fix: the message says what, where, and what to do.

    Shown as one line, ``error: ...``, without a traceback.
    """


def optional(module: str, install: str) -> Any:
    """A module that not everybody needs; a UserError says what to ``pip install`` where it is not there."""
    try:
        return import_module(module)
    except ImportError as error:
        raise UserError(f"this needs {module}: pip install '{install}' ({error})") from error


def disk_full(error: Exception) -> bool:
    """Whether it says that a disk is full, or one's share of it used up."""
    if isinstance(error, SafetensorError):
        return SAFETENSORS_FULL.search(str(error)) is not None
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def one_line(told: object) -> str:
    """An error's or other text without line breaks: Hydra and OmegaConf spread theirs over several.

    Cut where it quotes too much of a file, and without what would steer a terminal.
    """
    text = " ".join(str(told).split())[:LONGEST]
    return "".join(c if c.isprintable() else "?" for c in text)


@contextmanager
def reading(path: Path, remedy: str) -> Iterator[None]:
    """Turn whatever a damaged or foreign file raises while it is read into a UserError with a remedy."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # YAML, JSON, safetensors and our own look-ups each raise their own kinds
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"{path}: cannot be read (possibly corrupt: {reason}); {remedy}") from error
