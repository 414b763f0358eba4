"""The width of every group of nodes over the rounds: what is pruned, and when."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from mer_lightning.report.figures.style import INK, figure, styled
from mer_lightning.report.runs import Floats


@dataclass(frozen=True, eq=False)
class Widths:
    """G groups over R rounds: nodes and their share of round 0's, (G, R), means over the folds."""

    groups: Sequence[str]
    nodes: Floats
    share: Floats
    reported: int  # the chosen round


@styled
def widths_figure(widths: Widths) -> Figure:
    """A cell per group and round: dark is full width, light is narrow; the number is the width."""
    groups, rounds = widths.share.shape
    made, [axes] = figure(1.8 + 0.09 * max(map(len, widths.groups)) + 0.55 * rounds, 1.1 + 0.26 * groups)
    drawn = axes.imshow(widths.share, cmap="Blues", vmin=0, vmax=1.15, aspect="auto")
    for (g, r), nodes in np.ndenumerate(widths.nodes):
        color = "white" if widths.share[g, r] > 0.65 else INK
        axes.text(r, g, f"{nodes:.0f}", ha="center", va="center", fontsize=7.5, color=color)
    frame = Rectangle((widths.reported - 0.5, -0.5), 1, groups, fill=False, edgecolor=INK, linewidth=1.6)
    axes.add_patch(frame)
    axes.set_xticks(range(rounds))
    axes.set_yticks(range(groups), widths.groups)
    axes.set_xlabel("round (framed: the chosen one)")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    bar = made.colorbar(drawn, ax=axes, boundaries=np.linspace(0, 1, 101), ticks=[0, 0.5, 1], shrink=0.6)
    bar.ax.set_yticklabels(["0 %", "50 %", "100 %"])
    bar.set_label("of round 0's width")
    return made
