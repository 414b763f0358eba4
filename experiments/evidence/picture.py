"""Quality against parameters, round by round, a panel for each data set; on light and on dark pages."""

from collections.abc import Sequence

from matplotlib import rc_context
from matplotlib.axes import Axes

from experiments.evidence.answers import Row
from experiments.ravdess.picture import INKS, KEYS
from mer_lightning.report.figures.style import RC, figure, legend_below, png, stroke, tidy

CONTROL = "rewind_only"  # drawn at the sizes of SIZES in the same round: its own is always whole
SIZES = "pnao"


def pictures(rounds: Sequence[Row]) -> dict[str, bytes]:
    """File name -> PNG. rounds: those of the table."""
    return {f"quality_{name}.png": draw(rounds, *colors) for name, colors in INKS.items()} if rounds else {}


def draw(rounds: Sequence[Row], ink: str, paper: str) -> bytes:
    """A line for each system; shaded from the lowest to the highest seed."""
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
            axes.set_title(data)
            axes.set_xlabel("parameters left, %")
            axes.set_xlim(105, 0)
        panels[0].set_ylabel("test " + " or ".join(dict.fromkeys(str(r["measure"]).title() for r in rounds)))
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
