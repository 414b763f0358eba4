"""Where the configuration's files are."""

from pathlib import Path


def conf_folder() -> Path:
    """``conf`` of the wheel, or of the checkout."""
    package = Path(__file__).resolve().parents[1]
    return package / "conf" if (package / "conf").is_dir() else package.parent / "conf"
