"""The figures: data in, a matplotlib Figure out. Nothing here reads files or keeps global state."""

from mer_lightning.report.figures.calibration import reliability_figure
from mer_lightning.report.figures.conditions import Panel, bars_figure, curve_figure
from mer_lightning.report.figures.confusion import Confusion, confusion_figure, confusion_pair_figure
from mer_lightning.report.figures.differences import Line, differences_figure
from mer_lightning.report.figures.pareto import Path2D, front, pareto_figure
from mer_lightning.report.figures.rounds import Curve, rounds_figure
from mer_lightning.report.figures.style import png, vector
from mer_lightning.report.figures.weights import NEAR_ZERO, fusion_weights_figure, weights_figure
from mer_lightning.report.figures.widths import Widths, widths_figure

__all__ = [
    "NEAR_ZERO",
    "Confusion",
    "Curve",
    "Line",
    "Panel",
    "Path2D",
    "Widths",
    "bars_figure",
    "confusion_figure",
    "confusion_pair_figure",
    "curve_figure",
    "differences_figure",
    "front",
    "fusion_weights_figure",
    "pareto_figure",
    "png",
    "reliability_figure",
    "rounds_figure",
    "vector",
    "weights_figure",
    "widths_figure",
]
