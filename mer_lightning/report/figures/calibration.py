"""Reliability diagram: confidence against accuracy, fused and branch by branch."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from mer_lightning.report.figures.style import INK, figure, stroke, styled, tidy

if TYPE_CHECKING:
    from mer_lightning.report.calibration import Reliability

FEWEST = 10  # utterances a bin needs to be drawn


@styled
def reliability_figure(found: Mapping[str, "Reliability"]) -> Figure:
    """Left the diagram (bins with at least 10 utterances), right the calibration errors."""
    made, (diagram, errors) = figure(9.6, 4.5, columns=2)
    diagram.plot([0, 1], [0, 1], color=INK, linewidth=1, alpha=0.5)
    for index, (name, r) in enumerate(found.items()):
        look, drawn = stroke(index), r.counts >= FEWEST
        diagram.plot(
            r.confidence[drawn], r.accuracy[drawn], label=name, color=look.color, marker=look.marker,
            linestyle=look.line, linewidth=2.4 if index == 0 else 1.3, markersize=6, clip_on=False, zorder=3,
        )  # fmt: skip
    diagram.text(0.03, 0.94, "too modest", fontsize=9, color=INK, alpha=0.7)
    diagram.text(0.97, 0.04, "too sure", fontsize=9, color=INK, alpha=0.7, ha="right")
    diagram.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    diagram.set_xlabel("confidence (largest posterior)")
    diagram.set_ylabel("accuracy")
    diagram.xaxis.set_major_formatter(PercentFormatter(1, 0))
    diagram.yaxis.set_major_formatter(PercentFormatter(1, 0))
    tidy(diagram)
    values = [r.ece for r in found.values()]
    for index, (name, value) in enumerate(zip(found, values, strict=True)):
        look = stroke(index)
        errors.plot([0, value], [index, index], color=look.color, linestyle=look.line, linewidth=2)
        errors.plot(value, index, look.marker, color=look.color, markersize=9, label=name)
        errors.annotate(
            f"{value:.3f}", (value, index), xytext=(10, 0), textcoords="offset points", va="center"
        )
    errors.set_yticks(np.arange(len(found)), list(found))
    errors.set(ylim=(len(found) - 0.5, -0.5), xlim=(0, 1.25 * max(values) or 1.0))
    errors.set_xlabel("expected calibration error (lower is better)")
    tidy(errors)
    return made
