"""Fig. 3: quality and size over the rounds."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mer_lightning.report.figures.style import figure, legend_below, stroke, styled, tidy
from mer_lightning.report.runs import Floats

PANELS = {
    "dis": "Dis: weighted F1 (higher is better)",
    "dim": "Dim: squared error of valence (lower is better)",
    "com": "Com = Dis \N{MINUS SIGN} 0.25 Dim (higher is better)",
    "parameters": "Parameters (lower is better)",
}


@dataclass(frozen=True, eq=False)
class Curve:
    """A system over R rounds: ``dis``, ``dim``, ``com``, ``parameters`` -> (S, R), by seed or by fold.

    ``center``: measure -> (R,), the line itself, where it is not the mean of the S values.
    """

    label: str
    values: dict[str, Floats]
    look: int = 0  # number of the line's style
    reported: int | None = None  # the chosen round, where it is one
    center: dict[str, Floats] | None = None

    def line(self, name: str) -> Floats:
        """(R,) what is drawn as the line."""
        if self.center is not None and name in self.center:
            return self.center[name]
        return np.asarray(self.values[name].mean(axis=0))


@styled
def rounds_figure(curves: Sequence[Curve]) -> Figure:
    """A panel per measure that all curves have; shaded from the lowest to the highest of the S values."""
    names = [name for name in PANELS if all(name in c.values for c in curves)]
    made, axes = figure(9.6, 3.4 * (len(names) // 2) + 0.5, len(names) // 2, 2)
    for name, panel in zip(names, axes, strict=True):
        for curve in curves:
            _draw(panel, curve, name)
        panel.set_title(PANELS[name], loc="left")
        panel.set_xlabel("round")
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        tidy(panel)
    size = axes[names.index("parameters")]
    size.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    size.set_ylim(0, 1.1 * max(float(c.values["parameters"].max()) for c in curves))
    legend_below(made, axes[0])
    return made


def _draw(axes: Axes, curve: Curve, name: str) -> None:
    look, values, line = stroke(curve.look), curve.values[name], curve.line(name)
    rounds = np.arange(len(line))
    axes.plot(
        rounds, line, label=curve.label, color=look.color, marker=look.marker, linestyle=look.line,
        markersize=5, linewidth=1.8,
    )  # fmt: skip
    if len(values) > 1:
        low, high = values.min(axis=0), values.max(axis=0)
        axes.fill_between(rounds, low, high, color=look.color, alpha=0.13, linewidth=0)
    if curve.reported is not None:
        at = curve.reported
        axes.plot(at, line[at], "o", markersize=13, fillstyle="none", color=look.color, markeredgewidth=1.5)
