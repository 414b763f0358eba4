"""Measurements that hold on a machine with other work besides: the sides take turns, and ratios count.

Times are of the processor where one process works with one thread, and of the wall clock where several do.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import torch

Clock = Callable[[], float]
Side = Callable[[], float]  # does its work and says how many seconds that took
Times = dict[str, list[float]]  # side -> seconds, one number a turn


@dataclass(frozen=True)
class Scale:
    """How much is measured.

    size: of the synthetic data; ``full`` is MER 2023's shape. repeats: turns of each side after the first,
    which does not count. epochs: of a fit, the first of which does not count. largest: utterances at the end
    of the curves that grow. complete: whether what takes minutes is measured, too.
    """

    size: str = "full"
    repeats: int = 5
    epochs: int = 4
    largest: int = 1_000_000
    complete: bool = True

    @property
    def few(self) -> int:
        """Turns of what takes long."""
        return max(1, self.repeats // 2)


FULL = Scale()
QUICK = Scale(repeats=2, epochs=2, largest=80_000, complete=False)


class Spread(NamedTuple):
    """A median and the quartiles around it."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Figure:
    """One number of the benchmark.

    unit: ``ratio``; ``s`` (absolute, never compared between machines); ``exponent`` of a growth.
    goal: ``value`` should be at most this, or at least where ``higher`` is better; None: no goal.
    details: what the value was made from, JSON values. skipped: why there is no value.
    """

    name: str
    spread: Spread | None
    goal: float | None = None
    higher: bool = False
    unit: str = "ratio"
    details: dict[str, Any] = field(default_factory=dict)
    skipped: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None without a goal or a value."""
        if self.goal is None or self.spread is None:
            return None
        return self.spread.value >= self.goal if self.higher else self.spread.value <= self.goal

    def as_json(self) -> dict[str, Any]:
        """For the file: the fields, the spread by name, and whether the goal is met."""
        spread = self.spread._asdict() if self.spread else dict.fromkeys(Spread._fields)
        rest = {k: v for k, v in asdict(self).items() if k not in ("name", "spread")}
        return {"name": self.name, **spread, "met": self.met, **rest}


def timed(work: Callable[[], Any], times: int = 1, clock: Clock = time.process_time) -> Side:
    """A side from a piece of work: seconds for one of ``times`` calls."""

    def side() -> float:
        began = clock()
        for _ in range(times):
            work()
        return (clock() - began) / times

    return side


def interleaved(sides: Mapping[str, Side], repeats: int, warmup: int = 1) -> Times:
    """ABAB...: each side in turn, so that what disturbs the machine disturbs all of them."""
    times: Times = {name: [] for name in sides}
    for turn in range(warmup + repeats):
        for name, side in sides.items():
            seconds = side()
            if turn >= warmup:
                times[name].append(seconds)
    return times


def spread(values: Sequence[float]) -> Spread:
    """Median and quartiles."""
    low, middle, high = np.percentile(np.asarray(values), (25, 50, 75)).tolist()
    return Spread(middle, low, high)


def ratio(over: Sequence[float], under: Sequence[float]) -> Spread:
    """Of the ratios turn by turn: a machine that slows down slows both sides of a turn."""
    return spread([a / b for a, b in zip(over, under, strict=True)])


def growth(sizes: Sequence[float], curves: Sequence[Sequence[float]]) -> Spread:
    """The exponent p of ``seconds ~ size^p`` between the two largest sizes, where fixed costs weigh least.

    curves: one a turn, the seconds at each size.
    """
    return spread([float(np.log(c[-1] / c[-2]) / np.log(sizes[-1] / sizes[-2])) for c in curves])


def medians(times: Times) -> dict[str, float]:
    """Side -> median seconds, for the details."""
    return {name: round(spread(seconds).value, 6) for name, seconds in times.items()}


@contextmanager
def stopwatch(owner: Any, name: str, clock: Clock = time.process_time) -> Iterator[list[float]]:
    """Within the block, the seconds of each call of ``owner.name``."""
    original, seconds = getattr(owner, name), list[float]()

    def watched(*args: Any, **kwargs: Any) -> Any:
        began = clock()
        try:
            return original(*args, **kwargs)
        finally:
            seconds.append(clock() - began)

    with mock.patch.object(owner, name, watched):
        yield seconds


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Within the block, so many intra-op threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
