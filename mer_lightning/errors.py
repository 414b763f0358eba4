"""A user's mistake, and damaged files."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class UserError(Exception):
    """Something the user can mend: the message says what, where, and what to do.

    Shown as one line, ``error: ...``, without a traceback.
    """


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
