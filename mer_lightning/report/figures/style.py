"""One look for all figures: Okabe and Ito's colours, told apart in grey print by markers and lines."""

import io
from textwrap import fill
from typing import Any, NamedTuple

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text

DPI = 150
COLUMN, TEXT_WIDTH = 3.5, 7.16  # inches: one column of a page of two, and both
SMALLEST = 5.0  # points of text in print
INK = "#222222"
GRID = "#dddddd"
BLUE, ORANGE, GREEN, VERMILLION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, BLACK = "#CC79A7", "#56B4E9", "#222222"

RC: Any = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so it is the same everywhere
    "font.size": 10.0,
    "axes.titlesize": 11.0,
    "axes.labelsize": 10.0,
    "xtick.labelsize": 9.0,
    "ytick.labelsize": 9.0,
    "legend.fontsize": 9.0,
    "legend.frameon": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.parse_math": False,  # a class may be called "$"
    "pdf.fonttype": 42,  # TrueType, embedded: text stays text
    "svg.fonttype": "none",
    "svg.hashsalt": "mer_lightning",  # the same data, the same file
}

styled = rc_context(RC)  # decorates every function that draws: texts take their style when they are made


class Stroke(NamedTuple):
    """How one line looks."""

    color: str
    marker: str
    line: Any  # matplotlib's name of a line style, or its dashes


COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)))


def stroke(index: int) -> Stroke:
    """The look of the line number ``index``; 168 numbers look different."""
    return Stroke(COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)], LINES[index % len(LINES)])


def figure(width: float, height: float, rows: int = 1, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure of so many inches with a grid of axes, row by row."""
    made = Figure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor="white")
    grid = made.subplots(rows, columns, squeeze=False)
    return made, list(grid.flat)


def tidy(axes: Axes) -> None:
    """No box around, a light grid behind."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)


def legend_below(made: Figure, axes: Axes) -> None:
    """The legend of one of the axes under the figure, which grows by what several lines take."""
    handles, names = axes.get_legend_handles_labels()
    folded = [fill(name, 80) for name in names]
    lines = [line for name in folded for line in name.splitlines()]
    columns = max(1, min(5, len(names), int(made.get_figwidth() / (0.6 + 0.08 * max(map(len, lines))))))
    made.set_figheight(made.get_figheight() + 0.2 * (len(lines) // columns - 1))
    made.legend(handles, folded, loc="outside lower center", ncols=columns)


@styled
def png(made: Figure) -> bytes:
    """The picture's bytes, 150 dots per inch. Drawn by Agg whatever backend the process has."""
    file = io.BytesIO()
    FigureCanvasAgg(made).print_figure(file, format="png", dpi=DPI, metadata={"Software": None})
    return file.getvalue()


@styled
def vector(made: Figure, kind: str) -> bytes:
    """The figure as ``pdf`` or ``svg``, shrunk to one column of print or, if wide, to both."""
    fit_to_print(made)
    file = io.BytesIO()
    made.savefig(file, format=kind, metadata={"CreationDate" if kind == "pdf" else "Date": None})
    return file.getvalue()


def fit_to_print(made: Figure) -> None:
    """Shrink a figure with its texts, lines and markers; a small one is not enlarged."""
    width, height = made.get_size_inches()
    scale = min(1.0, (COLUMN if width <= 1.5 * COLUMN else TEXT_WIDTH) / width)
    made.set_size_inches(width * scale, height * scale)
    for axes in made.axes:
        size = axes.xaxis.get_tick_params().get("labelsize", RC["xtick.labelsize"])
        axes.tick_params(labelsize=max(SMALLEST, size * scale))
    for text in made.findobj(Text):
        text.set_fontsize(max(SMALLEST, text.get_fontsize() * scale))
    for line in made.findobj(Line2D):
        line.set_linewidth(line.get_linewidth() * scale)
        line.set_markersize(line.get_markersize() * scale)
