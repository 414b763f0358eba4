"""A model's scores under several conditions, with intervals against a reference: bars, or a curve."""

from collections.abc import Sequence
from textwrap import fill
from typing import NamedTuple

from matplotlib.figure import Figure

from mer_lightning.report.figures.differences import Line
from mer_lightning.report.figures.style import BLUE, INK, ORANGE, figure, styled, tidy

GREY = "#999999"


class Panel(NamedTuple):
    """One score under every condition; a line's interval is that of its difference to the reference."""

    measure: str
    reference: float
    lines: Sequence[Line]  # low, high: the reference plus the ends of the interval


@styled
def bars_figure(panels: Sequence[Panel], reference: str) -> Figure:
    """Horizontal bars, the reference's first; those of a set that is left alone in a colour of their own."""
    names = [reference, *(line.label for line in panels[0].lines)]
    colours = [GREY, *(ORANGE if name.endswith(" alone") else BLUE for name in names[1:])]
    folded = [fill(name, 30) for name in names]
    height = 1.1 + sum(0.34 + 0.15 * name.count("\n") for name in folded)
    made, axes = figure(1.5 + 4.2 * len(panels), height, columns=len(panels))
    for panel, each in zip(panels, axes, strict=True):
        values = [panel.reference, *(line.value for line in panel.lines)]
        each.barh(range(len(names)), values, color=colours, height=0.7)
        for row, line in enumerate(panel.lines, 1):
            each.plot([line.low, line.high], [row, row], "-|", color=INK, linewidth=1.6, markersize=7)
        ends = [0.0, *values, *(end for line in panel.lines for end in (line.low, line.high))]
        left, right = min(ends), max(ends)
        for row, value in enumerate(values):
            each.text(right + 0.03 * (right - left), row, f"{value:.3f}", va="center", fontsize=9)
        each.axvline(panel.reference, color=INK, linewidth=1, linestyle="--")
        each.set(xlim=(left, right + 0.18 * (right - left)), ylim=(len(names) - 0.5, -0.5))
        each.set_yticks(range(len(names)), folded if each is axes[0] else [""] * len(names))
        each.set_xlabel(panel.measure)
        tidy(each)
        each.grid(visible=False, axis="y")
    return made


@styled
def curve_figure(panels: Sequence[Panel], levels: Sequence[float], axis: str, reference: str) -> Figure:
    """Scores against the level of corruption, a number for each line; the reference as a dashed line."""
    made, axes = figure(0.6 + 4.2 * len(panels), 3.6, columns=len(panels))
    for panel, each in zip(panels, axes, strict=True):
        each.axhline(panel.reference, color=INK, linewidth=1.2, linestyle="--", label=fill(reference, 30))
        each.fill_between(
            levels, [x.low for x in panel.lines], [x.high for x in panel.lines], color=BLUE, alpha=0.18
        )
        each.plot(levels, [x.value for x in panel.lines], "-o", color=BLUE, linewidth=2.2, label="corrupted")
        each.set_xlabel(axis)
        each.set_ylabel(panel.measure)
        tidy(each)
    axes[0].legend()
    return made
