"""Packages that only extraction needs, and that take a while to import."""

from importlib import import_module
from typing import Any

from mer_lightning.errors import UserError


def optional(module: str, package: str) -> Any:
    """A module, imported when it is needed; a UserError says which package to install."""
    try:
        return import_module(module)
    except ImportError as error:
        raise UserError(f"reading clips needs {package}: pip install {package} ({error})") from error
