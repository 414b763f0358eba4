"""Quality and size against what a sweep varies."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mer_lightning.report.figures.style import figure, stroke, styled, tidy
from mer_lightning.report.runs import Floats

SPREAD = 10  # from the lowest to the highest value: from here on the axis is logarithmic
TICKS = 8  # values of the axis that are named, at most


class Swept(NamedTuple):
    """S settings that belong together: one line."""

    label: str  # "": the only ones
    x: Floats  # (S,) the swept number; the place of a category
    values: dict[str, Floats]  # panel's title -> (S,)


@styled
def sweep_figure(
    series: Sequence[Swept], axis: str, places: Mapping[float, str] | None, caption: str
) -> Figure:
    """A panel per measure: points are settings, a line goes through the means of those with the same x.

    Args:
        axis: what x is.
        places: names of the categories on the x axis; None for a number.
        caption: what stands above all.
    """
    titles = list(series[0].values)
    made, panels = figure(4.2 * len(titles), 4.0 + 0.05 * longest(places), 1, len(titles))
    for look, own in enumerate(series):
        for panel, title in zip(panels, titles, strict=True):
            draw(panel, own, title, look, joined=places is None)
    for panel, title in zip(panels, titles, strict=True):
        panel.set_title(title, loc="left")
        panel.set_xlabel(axis)
        name_values(panel, np.unique(np.concatenate([s.x for s in series])), places)
        panel.margins(x=0.08, y=0.1)
        tidy(panel)
    made.suptitle(caption, x=0.01, ha="left", fontsize=9)
    panels[-1].yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    panels[-1].set_ylim(0, 1.1 * max(float(s.values[titles[-1]].max()) for s in series))
    if len(series) > 1:
        handles, labels = panels[0].get_legend_handles_labels()
        made.legend(handles, labels, loc="outside lower center", ncols=min(4, len(labels)))
    return made


def longest(places: Mapping[float, str] | None) -> int:
    """Letters of the longest category, which is written upright."""
    return max(map(len, places.values())) if places else 0


def draw(axes: Axes, own: Swept, title: str, index: int, joined: bool) -> None:
    """One line's settings as rings, and the means of those that share an x."""
    look, y, x = stroke(index), own.values[title], np.unique(own.x)
    means = [y[own.x == value].mean() for value in x]
    axes.plot(
        own.x, y, color=look.color, marker=look.marker, markersize=6, linestyle="none", fillstyle="none",
        alpha=0.8,
    )  # fmt: skip
    if joined and (len(x) < len(y) or len(x) <= TICKS):
        axes.plot(
            x, means, color=look.color, linestyle=look.line, marker=look.marker, markersize=4, linewidth=1.8,
            label=own.label,
        )  # fmt: skip
    elif joined:  # a search: every setting has an x of its own
        axes.plot([], [], color=look.color, marker=look.marker, linestyle="none", label=own.label)
    else:  # categories have no order for a line to follow
        axes.plot(
            x, means, color=look.color, marker="_", markersize=16, markeredgewidth=2, linestyle="none"
        )  # fmt: skip


def name_values(axes: Axes, values: Floats, places: Mapping[float, str] | None) -> None:
    """Ticks where the settings are, and a logarithmic axis for values far apart."""
    if places is not None:
        axes.set_xticks(list(places), list(places.values()), rotation=90 if longest(places) > 6 else 0)
        return
    if values[0] > 0 and values[-1] / values[0] >= SPREAD:
        axes.set_xscale("log")
    if len(values) <= TICKS:
        axes.set_xticks(values, [f"{value:g}" for value in values])
        axes.set_xticks([], minor=True)
