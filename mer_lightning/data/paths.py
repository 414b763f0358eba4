"""Where the readers look, and what they say when the thing is not there."""

import difflib
from collections.abc import Iterable
from pathlib import Path

from mer_lightning.errors import UserError


def data_root(root: str | None) -> Path:
    """``data.root`` as a folder that exists; a UserError otherwise."""
    folder = Path(root or "").expanduser()  # a shell leaves the ~ of data.root=~/x alone
    if not folder.is_dir():
        raise UserError(f"data.root={root}: no such folder")
    return folder


def label_file(root: Path, labels: str | None, usual: str) -> Path:
    """The label file: ``usual`` in the root, or ``data.labels``, in the root or as it stands."""
    if labels is None:
        return root / usual
    inside = root / Path(labels).expanduser()
    return inside if inside.is_file() else Path(labels).expanduser()


def require_sets(
    wanted: Iterable[str],
    present: Iterable[str],
    where: Path | str,
    advice: str = "see data.levels and data.shared",
) -> None:
    """A UserError for the first feature set of ``wanted`` that is not among ``present``."""
    there = sorted(present)
    for name in wanted:
        if name in there:
            continue
        close = difflib.get_close_matches(name, there, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise UserError(
            f"{where}: no feature set {name!r}{hint}; there are: {', '.join(there) or 'none'} ({advice})"
        )
