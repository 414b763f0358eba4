"""Signals that end a run in order: like Ctrl-C, finished rounds kept, but with exit codes of their own.

A batch system sends SIGTERM before it kills a job, and SIGUSR1 some time ahead of the job's end if it is
asked to (docs/devices.md).
"""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

NAMES = ("SIGINT", "SIGTERM", "SIGUSR1")
STOPS = [s for name in NAMES if (s := getattr(signal, name, None))]  # Windows has no SIGUSR1

_asked: int | None = None  # the number of a signal that came


def stop_like_ctrl_c() -> None:
    """Let Ctrl-C and the signals raise KeyboardInterrupt, with the signal's number as its argument."""
    for number in STOPS:
        signal.signal(number, _interrupt)


def leave_stopping_to_another() -> None:
    """Ignore Ctrl-C and the signals: a process that another one starts ends when that one does."""
    for number in STOPS:
        signal.signal(number, signal.SIG_IGN)


def _interrupt(number: int, frame: FrameType | None) -> None:
    global _asked
    _asked = number
    raise KeyboardInterrupt(number)


def stop_if_asked() -> None:
    """Raise KeyboardInterrupt again if a signal's was lost.

    Python ignores what is raised in a destructor, and a library may raise an error of its own in its place.
    """
    if _asked is not None:
        raise KeyboardInterrupt(_asked)


@contextmanager
def interruptible() -> Iterator[None]:
    """An error that an interrupt was turned into on its way is the interrupt again."""
    try:
        yield
    except Exception:
        stop_if_asked()
        raise


def exit_code(interrupt: KeyboardInterrupt) -> int:
    """128 + the signal's number, as shells count: Ctrl-C 130, SIGTERM 143, SIGUSR1 138 (on Linux)."""
    return 128 + (interrupt.args[0] if interrupt.args else signal.SIGINT)


def requeue(interrupt: KeyboardInterrupt) -> str | None:
    """Put the SLURM job that SIGUSR1 has interrupted back into the queue.

    Returns:
        What went wrong; None if nothing did, or if there is nothing to queue.
    """
    job = os.environ.get("SLURM_JOB_ID")
    if job is None or not interrupt.args or interrupt.args[0] != getattr(signal, "SIGUSR1", None):
        return None
    try:
        subprocess.run(["scontrol", "requeue", job], check=True, capture_output=True, text=True)  # noqa: S603, S607
    except (OSError, subprocess.CalledProcessError) as error:
        reason = (getattr(error, "stderr", None) or str(error)).strip()
        return f"scontrol requeue {job} failed ({reason}): submit the job again, and it goes on"
    return None
