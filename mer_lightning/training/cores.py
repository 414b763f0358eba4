"""The processor cores that this process may use."""

import os


def cores() -> int:
    """Their number: those that it is bound to, where the system can say, else all."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
