"""Checks of single configuration values, each a UserError that names the key."""

from collections.abc import Collection
from difflib import get_close_matches

from mer_lightning.errors import UserError

BIG = float("inf")


def one_of(key: str, value: str, options: Collection[str]) -> None:
    """A UserError unless ``value`` is one of the options."""
    if value not in options:
        hint = did_you_mean(value, options)
        raise UserError(f"{key}={value}: expected one of {', '.join(options)}{hint}")


def did_you_mean(name: str, known: Collection[str]) -> str:
    """``; did you mean 'NAME'?`` with the known name that is nearest, or nothing."""
    near = get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def between(key: str, value: float, low: float, high: float, *, open_above: bool = False) -> None:
    """A UserError unless ``low <= value <= high`` (or ``< high``)."""
    inside = low <= value < high if open_above else low <= value <= high
    if not inside:
        raise UserError(f"{key}={value}: expected a value in [{low:g}, {high:g}{')' if open_above else ']'}")
