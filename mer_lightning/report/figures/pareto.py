"""Quality against size: what a smaller network costs."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from mer_lightning.report.figures.style import INK, figure, legend_below, stroke, styled, tidy
from mer_lightning.report.runs import Floats


class Path2D(NamedTuple):
    """A system's way through the plane, round by round, each value a mean over seeds."""

    label: str
    look: int  # number of the line's style
    parameters: Floats  # (R,)
    quality: Floats  # (R,)


def front(parameters: Floats, quality: Floats) -> list[int]:
    """Indices of the points that no other beats in both: by rising size, with rising quality."""
    best, found = -np.inf, []
    for i in np.lexsort((-quality, parameters)):
        if quality[i] > best:
            best = float(quality[i])
            found.append(int(i))
    return found


@styled
def pareto_figure(paths: Sequence[Path2D], quality: str, where: str) -> Figure:
    """All systems' rounds and the front over them; quality: the axis' name, where: the data it is on."""
    made, (axes,) = figure(8.2, 5.4)
    for path in paths:
        look = stroke(path.look)
        axes.plot(
            path.parameters, path.quality, label=path.label, color=look.color, marker=look.marker,
            linestyle=look.line, linewidth=1, markersize=6, alpha=0.9,
        )  # fmt: skip
        for number in sorted({0, len(path.quality) - 1}) if len(path.quality) > 1 else []:
            axes.annotate(
                f"{number}", (path.parameters[number], path.quality[number]), xytext=(5, 5),
                textcoords="offset points", fontsize=8, color=look.color,
                path_effects=[withStroke(linewidth=2.5, foreground="white")],
            )  # fmt: skip
    x, y = (np.concatenate(parts) for parts in zip(*((p.parameters, p.quality) for p in paths), strict=True))
    best = front(x, y)
    axes.step(
        x[best], y[best], where="post", color=INK, linewidth=6, alpha=0.18, label="front", zorder=0,
        marker="o", markersize=16, markeredgewidth=0,
    )  # fmt: skip
    axes.set_xlabel("parameters (fewer is better); small numbers: first and last round")
    axes.set_ylabel(f"{quality} on {where} (higher is better)")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.margins(0.08)
    axes.set_xlim(0, 1.08 * float(x.max()))
    legend_below(made, axes)
    tidy(axes)
    return made
