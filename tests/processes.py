"""Commands as a user starts them, for tests that interrupt or kill."""

import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path


def hears_ctrl_c() -> None:
    """What a shell starts in the background ignores it, and so would its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def started(command: Sequence[str], folder: Path) -> subprocess.Popen[str]:
    """A running command, its output kept; Ctrl-C reaches it however these tests were started."""
    return subprocess.Popen(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=hears_ctrl_c,
    )
