"""The pictures: quality against parameters on light and on dark pages; Figures 2 and 4 of the paper."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes

from experiments.evidence.grid import Seeds
from experiments.evidence.outer import OUTER, merged
from experiments.evidence.plan import Row
from mer_lightning.report.figures import Confusion, confusion_pair_figure
from mer_lightning.report.figures.style import RC, figure, legend_below, png, stroke, tidy
from mer_lightning.report.pictures import confusion_counts
from mer_lightning.report.pruning import fig4

INKS = {"light": ("#222222", "white"), "dark": ("#e6e6e6", "#0d1117")}
KEYS = ("axes.edgecolor", "axes.labelcolor", "text.color", "xtick.color", "ytick.color")
CONTROL = "rewind_only"  # drawn at the sizes of SIZES in the same round: its own is always whole
SIZES = "pnao"
CONFUSED = ("enf", "baseline")  # Figure 2: entropy and attention fusion


def pictures(rounds: Sequence[Row], found: Mapping[str, Mapping[str, Seeds]]) -> dict[str, bytes]:
    """File name -> PNG. rounds: those of the table; found: data set -> its systems."""
    made = {f"quality_{name}.png": draw(rounds, *colors) for name, colors in INKS.items()} if rounds else {}
    for data, systems in found.items():
        if systems.keys() >= {*CONFUSED}:
            made[f"fig2_{data}.png"] = confused(*(systems[name] for name in CONFUSED))
        if SIZES in systems:
            made[f"fig4_{data}.png"] = fig4(next(iter(systems[SIZES].values()))[0]).content
    return made


def confused(first: Seeds, second: Seeds) -> bytes:
    """Figure 2: two systems' confusion matrices on all tested utterances, means over the seeds of both."""
    found = []
    for name, seeds in zip(CONFUSED, (first, second), strict=True):
        runs = [merged(seeds[seed]) for seed in sorted(first.keys() & second.keys())]
        counts = np.mean([confusion_counts(run, OUTER) for run in runs], axis=0)
        found.append(Confusion(name, runs[0].classes, counts))
    return png(confusion_pair_figure(*found))


def draw(rounds: Sequence[Row], ink: str, paper: str) -> bytes:
    """A panel for each data set, a line for each system; shaded from the lowest to the highest seed."""
    sets = list(dict.fromkeys(str(row["data"]) for row in rounds))
    systems = list(dict.fromkeys(str(row["system"]) for row in rounds))
    with rc_context(RC | dict.fromkeys(KEYS, ink)):
        made, panels = figure(max(3.6, 2.4 * len(sets)), 2.8, columns=len(sets))
        made.set_facecolor(paper)
        for axes, data in zip(panels, sets, strict=True):
            own = [row for row in rounds if row["data"] == data]
            for index, system in enumerate(systems):
                line(axes, own, system, index)
            tidy(axes)
            axes.set_facecolor(paper)
            axes.grid(color=ink, alpha=0.15)
            axes.set_title(f"{data}, {str(own[0]['measure']).title()}")
            axes.set_xlabel("parameters left, %")
            axes.set_xlim(105, 0)
        panels[0].set_ylabel("test score")
        legend_below(made, panels[0])
        return png(made)


def line(axes: Axes, rounds: Sequence[Row], system: str, index: int) -> None:
    """The rounds of a system; the control's at the sizes of ``SIZES``."""
    own = [row for row in rounds if row["system"] == system]
    sizes = {row["round"]: row["left"] for row in rounds if row["system"] == SIZES}
    at = sizes if system == CONTROL and sizes else {row["round"]: row["left"] for row in own}
    own = [row for row in own if row["round"] in at]
    x = [100 * float(at[row["round"]] or 0) for row in own]
    score, low, high = ([float(row[key] or 0) for row in own] for key in ("score", "low", "high"))
    look = stroke(index)
    label = f"{system} in the same round" if system == CONTROL else system
    axes.plot(
        x, score, color=look.color, marker=look.marker, markersize=3.5, linestyle=look.line, label=label
    )
    axes.fill_between(x, low, high, color=look.color, alpha=0.15, linewidth=0)
