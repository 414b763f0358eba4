"""The paired differences with their intervals, one line each."""

from collections.abc import Sequence
from textwrap import fill
from typing import NamedTuple

from matplotlib.figure import Figure

from mer_lightning.report.figures.style import BLUE, INK, figure, styled, tidy


class Line(NamedTuple):
    """A difference and its interval."""

    label: str
    value: float
    low: float
    high: float


@styled
def differences_figure(lines: Sequence[Line], measure: str) -> Figure:
    """First minus second of each pair; filled where the interval excludes zero, hollow where it holds it."""
    names = [fill(line.label, 50) for line in lines]
    made, (axes,) = figure(8.2, 1.5 + sum(0.42 + 0.15 * name.count("\n") for name in names))
    for row, line in enumerate(lines):
        sure = line.low > 0 or line.high < 0
        axes.plot([line.low, line.high], [row, row], color=BLUE, linewidth=3 if sure else 1.5)
        axes.plot(
            line.value, row, "o", markersize=9, color=BLUE, markeredgewidth=1.8,
            markerfacecolor=BLUE if sure else "white",
        )  # fmt: skip
    axes.axvline(0, color=INK, linewidth=1)
    axes.set_yticks(range(len(lines)), names)
    axes.set_ylim(len(lines) - 0.5, -0.5)
    axes.set_xlabel(f"difference in {measure}\n(right of zero: the first is better)")
    tidy(axes)
    axes.grid(visible=False, axis="y")
    return made
