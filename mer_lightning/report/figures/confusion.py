"""Fig. 2: which emotions are taken for which."""

from dataclasses import dataclass
from textwrap import fill

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from mer_lightning.report.figures.style import figure, styled
from mer_lightning.report.runs import Floats


@dataclass(frozen=True, eq=False)
class Confusion:
    """Counts (C, C), rows true, columns predicted; a mean over seeds need not be whole."""

    title: str
    classes: list[str]
    counts: Floats

    @property
    def shares(self) -> Floats:
        """Row-normalised: the diagonal is the recall. An emotion without utterances has zeros."""
        return np.asarray(self.counts / np.maximum(self.counts.sum(axis=1, keepdims=True), 1))


@styled
def confusion_figure(confusion: Confusion) -> Figure:
    """One confusion matrix."""
    side = 1.1 + 0.56 * len(confusion.classes) + _label_inches(confusion.classes)
    made, (axes,) = figure(side + 0.9, side + _title_inches(confusion))
    image = _matrix(axes, confusion)
    axes.set_ylabel("true emotion")
    made.colorbar(image, ax=axes, shrink=0.8, label="share of the true emotion (%)")
    return made


@styled
def confusion_pair_figure(first: Confusion, second: Confusion) -> Figure:
    """Two confusion matrices and first minus second, in points of the row shares."""
    grid, label = 0.45 * len(first.classes), _label_inches(first.classes)
    titles = max(_title_inches(first), _title_inches(second))
    made, axes = figure(3 * (grid + 0.9) + label, grid + 1.4 + label + titles, columns=3)
    _matrix(axes[0], first)
    _matrix(axes[1], second)
    change = 100 * (first.shares - second.shares)
    limit = max(float(np.abs(change).max()), 1.0)
    axes[2].imshow(change, cmap="PuOr_r", vmin=-limit, vmax=limit)
    for (i, j), value in np.ndenumerate(change):
        ink = "white" if abs(value) > 0.6 * limit else "black"
        text = "0" if abs(value) < 0.05 else f"{value:+.1f}".replace("-", "\N{MINUS SIGN}")
        axes[2].text(j, i, text, ha="center", va="center", fontsize=8, color=ink)
    _ticks(axes[2], first.classes, "left \N{MINUS SIGN} middle, in points")
    axes[0].set_ylabel("true emotion")
    for other in axes[1:]:
        other.set_yticklabels([])
    return made


def _matrix(axes: Axes, confusion: Confusion) -> AxesImage:
    shares = 100 * confusion.shares
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    for (i, j), share in np.ndenumerate(shares):
        ink = "white" if share > 55 else "black"
        count = float(confusion.counts[i, j])
        axes.text(j, i - 0.14, f"{share:.0f}", ha="center", va="center", fontsize=9, color=ink)
        small = f"{count:.0f}" if count.is_integer() or count >= 10 else f"{count:.1f}"
        axes.text(j, i + 0.24, small, ha="center", va="center", fontsize=6.5, color=ink)
    _ticks(axes, confusion.classes, confusion.title)
    return image


LONGEST = 14  # characters of an emotion's name that are shown


def _label_inches(classes: list[str]) -> float:
    """The room that the longest name takes, written aslant."""
    return 0.07 * min(LONGEST, max(len(name) for name in classes))


def _title_inches(confusion: Confusion) -> float:
    """The room that a title's lines take beyond the first two."""
    return 0.2 * max(0, _folded(confusion.title, len(confusion.classes)).count("\n") - 1)


def _folded(title: str, classes: int) -> str:
    """A title in at most four lines as wide as so many columns; the page has the whole name beside it."""
    return fill(title, 4 + 5 * max(3, classes), max_lines=4, placeholder="\N{HORIZONTAL ELLIPSIS}")


def _ticks(axes: Axes, classes: list[str], title: str) -> None:
    names = [n if len(n) <= LONGEST else f"{n[: LONGEST - 1]}\N{HORIZONTAL ELLIPSIS}" for n in classes]
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("predicted emotion")
    axes.set_title(_folded(title, len(names)))
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
