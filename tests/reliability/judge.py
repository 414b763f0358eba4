"""What the contract says of any input: accepted, or refused in one line; in time, in memory, cleanly."""

import io
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NoReturn
from unittest.mock import patch

from mer_lightning.__main__ import main
from mer_lightning.config.mistakes import users_mistake
from mer_lightning.errors import UserError
from mer_lightning.files.atomic import UNFINISHED

SECONDS = 10
LONGEST = 4000  # characters of a message


class FoundError(Exception):
    """The contract is broken: how, in one line."""


class HangError(BaseException):  # no Exception, or the readers would take it for damage
    """It took too long."""


def judged(call: Callable[[], object], folder: Path, seconds: float = SECONDS) -> str:
    """``accepted`` or ``refused``, as the command line tells them apart.

    Raises FoundError for any other exception, a hang, memory running out, a message of several lines, or an
    unfinished file left in the folder.
    """
    try:
        with at_most(seconds):
            call()
        outcome = "accepted"
    except HangError as error:
        raise FoundError(f"took more than {seconds} s") from error
    except FoundError:
        raise
    except BaseException as error:
        message = users_mistake(error) if isinstance(error, Exception) else None
        if message is None:
            raise FoundError(f"{type(error).__name__}: {error}") from error
        check_message(message, error)
        outcome = "refused"
    if left := [str(path) for path in folder.rglob(f"*{UNFINISHED}")]:
        raise FoundError(f"left {left[0]}")
    return outcome


def check_message(message: str, error: BaseException) -> None:
    """A FoundError for a message that is not one short line, or hides that memory ran out."""
    if not message or len(message) > LONGEST or not message.isprintable():
        raise FoundError(f"message of {len(message)} characters: {message[:200]!r}") from error
    if isinstance(error, UserError) and "\n" in str(error):
        raise FoundError(f"message of several lines: {message[:200]!r}") from error
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError) or "allocate memory" in str(cause):
            raise FoundError(f"wants all memory: {message[:200]!r}") from error
        cause = cause.__cause__ or cause.__context__


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """A HangError within the block once the time is over."""

    def over(*_: object) -> NoReturn:
        raise HangError

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def commanded(*arguments: str, work: Path) -> None:
    """The command line in this process: a UserError if it refuses; a FoundError unless as in the contract."""
    out, err = io.StringIO(), io.StringIO()
    with (
        patch.object(sys, "argv", ["mer_lightning", *arguments, f"hydra.run.dir={work / 'run'}"]),
        redirect_stdout(out),
        redirect_stderr(err),
        patch.dict(os.environ),
    ):
        try:
            main()
        except SystemExit as ended:
            status = int(ended.code or 0)
        else:
            status = 0
    last = (err.getvalue().splitlines() or [""])[-1]
    if status and (not last.startswith("error: ") or "Traceback" in err.getvalue()):
        raise FoundError(f"exit status {status} without a reason: {err.getvalue()[-300:]!r}")
    if status:
        raise UserError(last)


@contextmanager
def quiet() -> Iterator[None]:
    with redirect_stdout(io.StringIO()):
        yield
