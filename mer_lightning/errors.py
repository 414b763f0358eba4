"""A user's mistake, and damaged files."""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hydra.errors import HydraException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException
from safetensors import SafetensorError

NOT_INSTALLED = re.compile(r"Could not find 'hydra/(?:launcher|sweeper)/(joblib|optuna|ray|submitit)")

MAKE_SPACE = "what was written before is whole: make space, and the same command goes on"
SAFETENSORS_FULL = re.compile(rf"(?:os error|code:) {errno.ENOSPC}\b")  # as its versions put it
LONGEST = 2000  # characters of a message
READING_CONFIGURATION = (
    "hydra",
    "omegaconf",
    "yaml",
    "codecs",
)  # raise ValueError and more


class UserError(Exception):
    """Something the user can mend: the message says what, where, and what to do.

    Shown as one line, ``error: ...``, without a traceback.
    """


def users_mistake(error: Exception) -> str | None:
    """What to tell the user, in one line; None where the error is none that a user can mend."""
    if isinstance(error, OverrideParseException):
        return f"{error.override!r} is not a valid override: {one_line(error).split(' See https')[0]}"
    if missing := NOT_INSTALLED.search(str(error)):
        return f"{missing[1]} is not installed: pip install 'mer-lightning[{missing[1]}]'"
    if isinstance(error, (UserError, HydraException, OmegaConfBaseException)):
        return one_line(error)
    if isinstance(error, RecursionError):
        return "a file or an override is nested too deeply to be read; HYDRA_FULL_ERROR=1 shows which"
    if raised_in(error) in READING_CONFIGURATION:
        return f"a configuration file or an override cannot be read: {one_line(error)}"
    if disk_full(error):
        return f"no space is left on the disk; {MAKE_SPACE}"
    if isinstance(error, OSError) and error.filename is not None:
        return one_line(f"{error.filename}: {error.strerror}")
    return None


def disk_full(error: Exception) -> bool:
    """Whether it says that a disk is full, or one's share of it used up."""
    if isinstance(error, SafetensorError):
        return SAFETENSORS_FULL.search(str(error)) is not None
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def raised_in(error: Exception) -> str:
    """The package or module that raised it."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else str(trace.tb_frame.f_globals.get("__name__")).partition(".")[0]


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
        raise UserError(f"{path}: cannot be read, damaged perhaps ({reason}); {remedy}") from error
