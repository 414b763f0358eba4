"""What a cross-validation tells while it runs."""

from collections.abc import Callable, Mapping
from typing import NamedTuple


class Epoch(NamedTuple):
    """So many epochs of a fit are done, the last with this validation score."""

    fold: int
    round: int
    epoch: int
    score: float
    values: Mapping[str, float | None]  # as in the record's history


class RoundDone(NamedTuple):
    """A fold finished a round; its folder is there."""

    fold: int
    round: int


News = Epoch | RoundDone
Listener = Callable[[News], None]
