"""The pictures of a page: each a figure with a title, a caption, and its content in words."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from matplotlib.figure import Figure

from mer_lightning.report import figures
from mer_lightning.report.calibration import run_reliability
from mer_lightning.report.pairs import Comparison
from mer_lightning.report.runs import TRAIN_VAL, FinishedRun, Floats, part_scores
from mer_lightning.report.statistics import MEASURES
from mer_lightning.report.systems import System


@dataclass(frozen=True)
class Picture:
    """A figure and what stands around it."""

    name: str  # of its file, without the ending
    title: str
    caption: str
    alt: str  # what it shows, with the key numbers
    draw: Callable[[], Figure]  # again at every call

    @cached_property
    def content(self) -> bytes:
        """The PNG that the page shows."""
        return figures.png(self.draw())

    def file(self, kind: str) -> bytes:
        """The figure as ``png``, or as ``pdf`` or ``svg`` in the width of a column of print."""
        return self.content if kind == "png" else figures.vector(self.draw(), kind)


def differences(compared: Sequence[Comparison]) -> Picture:
    """The pairs' differences on one part, all with a corrected interval."""
    lines = [
        figures.Line(f"{c.first} \N{MINUS SIGN} {c.second}", d.value, *d.interval(c.alpha))
        for c in compared
        if (d := c.difference)
    ]
    measure = compared[0].measure
    words = "; ".join(f"{x.label} {x.value:+.4f} ({x.low:+.4f} to {x.high:+.4f})" for x in lines)
    part = compared[0].part
    return Picture(
        "differences",
        "The differences, with their corrected intervals",
        f"{measure.title()} on {part}, over seeds and {compared[0].unit}; each interval at its level in "
        f"Holm's procedure for {compared[0].family} tests. Filled and thick: it excludes zero. Hollow and "
        "thin: it holds zero, no difference is shown.",
        f"Differences in {measure.title()} on {part} with corrected intervals: {words}.",
        lambda: figures.differences_figure(lines, f"{measure.title()} on {part}"),
    )


def mean_confusion(system: System, part: str, title: str) -> figures.Confusion:
    """Confusion counts on a part, the mean over the seeds."""
    first = system.runs[0]
    counts = np.mean([confusion_counts(run, part) for run in system.runs], axis=0)
    return figures.Confusion(title, first.classes, counts)


def confusion_counts(run: FinishedRun, part: str) -> Floats:
    """(C, C) counts of true (rows) and predicted emotions."""
    rows = run.rows(part)[run.emotion[run.rows(part)] >= 0]
    counts = np.zeros((len(run.classes), len(run.classes)))
    np.add.at(counts, (run.emotion[rows], run.predicted[rows]), 1)
    return counts


def fig2(first: System, second: System, part: str) -> Picture:
    """Fig. 2: entropy and attention fusion side by side, and their difference."""
    a, b = (mean_confusion(s, part, s.label) for s in (first, second))
    gains = 100 * (np.diag(a.shares) - np.diag(b.shares))
    by_class = ", ".join(f"{c} {g:+.1f}" for c, g in zip(a.classes, gains, strict=True))
    return Picture(
        "fig2_confusion",
        f"Which emotions are taken for which: {first.label} and {second.label}",
        "After Fig. 2 of the paper. Large: percent of the true emotion; small: utterances (mean over seeds). "
        "Right: the difference in points; on the diagonal, above zero is a gain.",
        f"Confusion matrices of {first.label} and {second.label} on {part}, and their difference. "
        f"Change of the recall in points, {first.label} minus {second.label}: {by_class}.",
        lambda: figures.confusion_pair_figure(a, b),
    )


def confusion(system: System, part: str) -> Picture:
    """One system's confusion matrix."""
    c = mean_confusion(system, part, f"{system.label}, {part}")
    recalls = ", ".join(f"{n} {100 * r:.0f} %" for n, r in zip(c.classes, np.diag(c.shares), strict=True))
    return Picture(
        "confusion",
        "Which emotions are taken for which",
        "Large: percent of the true emotion; small: utterances. The diagonal is the recall.",
        f"Confusion matrix of {system.label} on {part}. Recall: {recalls}.",
        lambda: figures.confusion_figure(c),
    )


def seed_curve(system: System, part: str, look: int = 0) -> figures.Curve:
    """A system over the rounds that all its seeds have; values by seed."""
    count = min(len(run.results.rounds) for run in system.runs)
    rounds = [run.results.rounds[:count] for run in system.runs]
    values = {
        m: np.array([[part_scores(r, part)[m] for r in own] for own in rounds], dtype=np.float64)
        for m in MEASURES
    }
    values["parameters"] = np.array([[r.parameters for r in own] for own in rounds], dtype=np.float64)
    known = {name: v for name, v in values.items() if np.isfinite(v).all()}
    chosen = {run.results.best_round for run in system.runs}
    reported = chosen.pop() if len(chosen) == 1 else None
    return figures.Curve(system.label, known, look, reported)


def fold_curve(run: FinishedRun) -> figures.Curve:
    """One run over its rounds on Train&Val; values by fold, the line the score of all folds together."""
    rounds = run.results.rounds
    values, center = {}, {}
    for m in MEASURES:
        by_fold = [[getattr(f, m) for f in r.by_fold] for r in rounds]
        values[m] = np.array(by_fold, dtype=np.float64).T
        center[m] = np.array([getattr(r.validation, m) for r in rounds], dtype=np.float64)
    values["parameters"] = np.array([[r.parameters for r in rounds]], dtype=np.float64)
    known = {name: v for name, v in values.items() if np.isfinite(v).all()}
    return figures.Curve(run.experiment, known, 0, run.results.best_round, center)


def fig3(curves: Sequence[figures.Curve], part: str, band: str) -> Picture:
    """Fig. 3: quality and size over the rounds, controls beside."""
    main = curves[0]
    measure = "com" if "com" in main.values else "dis"
    quality, size = main.line(measure), main.line("parameters")
    best = int(quality.argmax())
    shaded = f"Shaded: {band}. " if any(len(c.values[measure]) > 1 for c in curves) else ""
    agree = "" if all(c.reported is not None for c in curves) else ", where all seeds agree"
    legend = f"{shaded}Ring: the round that is reported{agree}."
    return Picture(
        "fig3_rounds",
        "Quality and size over the rounds",
        f"After Fig. 3 of the paper, on {part}. {legend}",
        f"{len(curves)} systems over the rounds on {part}: {', '.join(c.label for c in curves)}. "
        f"{main.label}: {measure.title()} {quality[0]:.4f} in round 0, {quality[-1]:.4f} in round "
        f"{len(quality) - 1}, highest in round {best} with {quality[best]:.4f}; "
        f"parameters from {size[0]:,.0f} to {size[-1]:,.0f} ({size[-1] / size[0]:.1%}).",
        lambda: figures.rounds_figure(curves),
    )


def pareto(systems: Sequence[System], part: str, measure: str) -> Picture:
    """Quality against parameters, over systems, rates and rounds."""
    paths = []
    for look, system in enumerate(systems):
        curve = seed_curve(system, part)
        paths.append(figures.Path2D(system.label, look, curve.line("parameters"), curve.line(measure)))
    points = [(p.label, i, p.parameters[i], p.quality[i]) for p in paths for i in range(len(p.quality))]
    best = figures.front(np.array([p[2] for p in points]), np.array([p[3] for p in points]))
    words = "; ".join(
        f"{points[i][0]} round {points[i][1]}, {points[i][2]:,.0f} parameters, {points[i][3]:.4f}"
        for i in best
    )
    return Picture(
        "pareto",
        "Quality against parameters",
        f"Every round of every system on {part}, means over seeds. Grey: the front, where no other point is "
        "both smaller and better. It is read off the scores it shows, which flatters the points on it.",
        f"{measure.title()} on {part} against parameters. On the front: {words}.",
        lambda: figures.pareto_figure(paths, measure.title(), part),
    )


def calibration(run: FinishedRun) -> Picture:
    """Reliability of the fused posterior and of the branches."""
    found = run_reliability(run)
    errors = ", ".join(f"{name} {r.ece:.3f}" for name, r in found.items())
    best = min(found, key=lambda name: found[name].ece)
    return Picture(
        "calibration",
        "Can the posteriors be believed?",
        f"{run.experiment}, seed {run.seed}, out-of-fold predictions of Train&Val; bins of equal width with "
        f"at least 10 utterances. Best calibrated: {best}.",
        f"Reliability diagram, and expected calibration error: {errors}.",
        lambda: figures.reliability_figure(found),
    )


def class_weights(system: System) -> Floats:
    """(C, M) mean fusion weight by true emotion on Train&Val, mean over seeds; NaN for an absent emotion."""
    means = []
    for run in system.runs:
        rows, weights = run.rows(TRAIN_VAL), run.decision.weights.double().numpy()
        by_class = [weights[rows[run.emotion[rows] == c]] for c in range(len(run.classes))]
        even = np.full(len(run.branch_names), np.nan)
        means.append([w.mean(axis=0) if len(w) else even for w in by_class])
    return np.asarray(np.mean(means, axis=0))


def fusion_weights(system: System) -> Picture | None:
    """Mean weight of each branch, by class; None with a single branch."""
    run = system.runs[0]
    if len(run.branch_names) < 2:
        return None
    weights = class_weights(system)
    most = ", ".join(
        f"{name}: {run.branch_names[int(w.argmax())]} {100 * w.max():.1f} %"
        for name, w in zip(run.classes, weights, strict=True)
        if np.isfinite(w).all()
    )
    return Picture(
        "fusion_weights",
        "How much each branch weighs in the fusion",
        f"{system.label}: mean weight of each branch by true emotion, out-of-fold decisions on Train&Val.",
        f"Heat map of fusion weights by emotion and branch. Largest weight by emotion: {most}.",
        lambda: figures.fusion_weights_figure(weights, run.classes, run.branch_names),
    )
