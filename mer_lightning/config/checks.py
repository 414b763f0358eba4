"""Checks of single configuration values, each a UserError that names the key."""

from mer_lightning.errors import UserError

BIG = float("inf")


def one_of(key: str, value: str, options: tuple[str, ...]) -> None:
    """A UserError unless ``value`` is one of the options."""
    if value not in options:
        raise UserError(f"{key}={value}: expected one of {', '.join(options)}")


def between(key: str, value: float, low: float, high: float, *, open_above: bool = False) -> None:
    """A UserError unless ``low <= value <= high`` (or ``< high``)."""
    inside = low <= value < high if open_above else low <= value <= high
    if not inside:
        raise UserError(f"{key}={value}: expected a value in [{low:g}, {high:g}{')' if open_above else ']'}")
