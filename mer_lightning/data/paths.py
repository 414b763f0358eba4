"""Where the readers look, and what they say when the thing is not there."""

from collections.abc import Iterable
from pathlib import Path

from mer_lightning.config.checks import did_you_mean
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
        if name not in there:
            raise UserError(
                f"{where}: no feature set {name!r}{did_you_mean(name, there)}; there are: "
                f"{', '.join(there) or 'none'} ({advice})"
            )
