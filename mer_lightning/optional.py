"""Packages that not everybody needs, imported when they are."""

from importlib import import_module
from typing import Any

from mer_lightning.errors import UserError


def optional(module: str, install: str) -> Any:
    """The module; a UserError says what to ``pip install`` where it is not there."""
    try:
        return import_module(module)
    except ImportError as error:
        raise UserError(f"this needs {module}: pip install '{install}' ({error})") from error
