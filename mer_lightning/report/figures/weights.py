"""Fig. 4, the distribution of weights over the rounds; and the fusion's weights."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from mer_lightning.report.figures.style import INK, figure, stroke, styled, tidy
from mer_lightning.report.runs import Floats

Floats32 = NDArray[np.float32]
NEAR_ZERO = (1e-3, 1e-2)  # a weight this small does next to nothing
BINS = 121


def near_zero(values: Floats32, limit: float) -> float:
    """Share of the values with ``|w| < limit``, in [0, 1]."""
    return float((np.abs(values) < limit).mean())


@styled
def weights_figure(rounds: Mapping[int, Floats32]) -> Figure:
    """Left the density of the weight values per round, right the share near zero.

    rounds: round -> the values of all prunable weights, (W_r,); in order.
    """
    made, (density, share) = figure(9.6, 4.2, columns=2)
    limit = max(float(np.quantile(np.abs(values), 0.998)) for values in rounds.values())
    edges = np.linspace(-limit, limit, BINS + 1)
    colours = colormaps["viridis"](np.linspace(0, 0.88, len(rounds)))
    for index, (number, values) in enumerate(rounds.items()):
        counts = np.histogram(values, edges)[0] / (len(values) * np.diff(edges))
        ends = index in (0, len(rounds) - 1)
        density.plot(
            (edges[1:] + edges[:-1]) / 2, counts, color=colours[index], linewidth=2.2 if ends else 1.0,
            linestyle="--" if index == 0 else "-", label=f"round {number}" if ends else None,
        )  # fmt: skip
    density.set_yscale("log")
    density.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    density.set_xlabel("weight value")
    density.set_ylabel("density (log scale)")
    title = "dark to light" if len(rounds) > 2 else None
    density.legend(title=title, loc="upper left")
    tidy(density)
    for index, small in enumerate(NEAR_ZERO):
        look, shares = stroke(index), [near_zero(values, small) for values in rounds.values()]
        share.plot(
            list(rounds), shares, color=look.color, marker=look.marker, linestyle=look.line, linewidth=1.8,
            label=f"|weight| < {small:g}",
        )  # fmt: skip
    share.set_ylim(0, min(1.0, 1.2 * max(near_zero(v, NEAR_ZERO[-1]) for v in rounds.values()) or 1.0))
    share.yaxis.set_major_formatter(PercentFormatter(1, 0))
    share.xaxis.set_major_locator(MaxNLocator(integer=True))
    share.set_xlabel("round")
    share.set_ylabel("share of the weights near zero")
    share.legend()
    tidy(share)
    return made


@styled
def fusion_weights_figure(weights: Floats, classes: Sequence[str], branches: Sequence[str]) -> Figure:
    """Mean fusion weight (C, M) of each branch by true emotion, coloured by its distance from uniform."""
    even = 1 / len(branches)
    away = 100 * (weights - even)
    limit = max(float(np.nanmax(np.abs(away))), 1.0)
    made, (axes,) = figure(3.2 + 1.25 * len(branches), 2.0 + 0.42 * len(classes))
    image = axes.imshow(away, cmap="PuOr_r", vmin=-limit, vmax=limit, aspect="auto")
    for (i, j), value in np.ndenumerate(away):
        ink = "white" if abs(value) > 0.6 * limit else "black"
        text = "-" if np.isnan(value) else f"{100 * weights[i, j]:.1f}"
        axes.text(j, i, text, ha="center", va="center", fontsize=9.5, color=ink)
    axes.set_xticks(range(len(branches)), [_wrapped(name) for name in branches])
    axes.set_yticks(range(len(classes)), list(classes))
    axes.set_ylabel("true emotion")
    axes.set_title("mean fusion weight (%)", loc="left")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, colors=INK)
    made.colorbar(image, ax=axes, label=f"points above or below {100 * even:.1f} %")
    return made


def _wrapped(name: str) -> str:
    """A long name in lines of its parts: ``audio_l1_lstm1`` -> ``audio_l1`` / ``lstm1``."""
    lines = [""]
    for part in name.replace("-", "_").split("_"):
        if lines[-1] and len(lines[-1]) + len(part) > 9:
            lines.append(part)
        else:
            lines[-1] += f"_{part}" if lines[-1] else part
    return "\n".join(line[:16] for line in lines)
