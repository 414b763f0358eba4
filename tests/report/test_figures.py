"""Figures hold what they are given, cut nothing off, and keep no global state."""

import sys

import numpy as np
import pytest
from matplotlib.figure import Figure

from mer_lightning.report import figures
from mer_lightning.report.calibration import reliability
from mer_lightning.report.figures.weights import near_zero

RNG = np.random.default_rng(0)
LONG = ["neutral", "a rather long emotion's name", "$unbalanced", "<b>", "happy", "sad", "worried", "x"]
LONG_NAME = "pnao (fusion.kind=attention, pnao.max_share=0.25, pnao.rate=0.01, trainer.learning_rate=0.001)"
BRANCHES = ["audio_l1_lstm1", "chinese-hubert-large-UTT", "z"]


def confusion(title: str) -> figures.Confusion:
    return figures.Confusion(title, LONG, RNG.integers(0, 90, (8, 8)).astype(float))


def curves() -> list[figures.Curve]:
    names = ("pnao", "rewind_only", LONG_NAME, "one_shot")
    return [
        figures.Curve(
            name,
            {m: RNG.random((3, 4)) for m in ("dis", "dim", "com")} | {"parameters": RNG.random((3, 4)) * 2e6},
            look,
            reported=look,
        )
        for look, name in enumerate(names)
    ]


def drawn() -> dict[str, Figure]:
    paths = [figures.Path2D(f"{LONG_NAME} {i}", i, RNG.random(5) * 1e6, RNG.random(5)) for i in range(9)]
    weights = RNG.dirichlet(np.ones(3), 8)
    weights[2] = np.nan  # an emotion without utterances
    posterior = RNG.dirichlet(np.ones(3), 400)
    calibration = {name: reliability(posterior, RNG.integers(0, 3, 400)) for name in ("fused", *BRANCHES)}
    lines = [figures.Line(f"pnao \N{MINUS SIGN} {name}", 0.1, -0.1, 0.3) for name in (*BRANCHES, LONG_NAME)]
    return {
        "confusion": figures.confusion_figure(confusion("pnao")),
        "long title": figures.confusion_figure(confusion(3 * LONG_NAME)),
        "pair": figures.confusion_pair_figure(confusion(LONG_NAME), confusion("baseline")),
        "rounds": figures.rounds_figure(curves()),
        "weights": figures.weights_figure({r: RNG.normal(0, 0.1, 999).astype(np.float32) for r in (0, 4, 9)}),
        "fusion weights": figures.fusion_weights_figure(weights, LONG, BRANCHES),
        "pareto": figures.pareto_figure(paths, "Com", "test1"),
        "one point": figures.pareto_figure([figures.Path2D("enf", 0, np.ones(1), np.ones(1))], "Dis", "x"),
        "calibration": figures.reliability_figure(calibration),
        "differences": figures.differences_figure(lines, "Com on test1"),
        "bars": figures.bars_figure([figures.Panel("Dis", 0.2, lines)] * 2, "all sets"),
        "curve": figures.curve_figure([figures.Panel("Dis", 0.2, lines)], range(4), "SNR (dB)", LONG_NAME),
    }


@pytest.mark.filterwarnings("error")
def test_nothing_is_cut_off_and_nothing_is_global() -> None:
    for name, figure in drawn().items():
        assert figures.png(figure).startswith(b"\x89PNG")
        box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
        assert box.x0 >= -0.01, name
        assert box.y0 >= -0.01, name
        assert box.x1 <= width + 0.01, name
        assert box.y1 <= height + 0.01, name
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()


def test_the_front_holds_what_no_other_point_beats() -> None:
    for _ in range(50):
        size, quality = RNG.integers(0, 9, 12).astype(float), RNG.integers(0, 9, 12).astype(float)
        found = figures.front(size, quality)
        for i in range(12):
            beaten = (
                (size <= size[i]) & (quality >= quality[i]) & ((size < size[i]) | (quality > quality[i]))
            ).any()
            point = (size[i], quality[i])
            assert beaten != (point in {(size[j], quality[j]) for j in found})
        assert sorted(found, key=lambda i: size[i]) == found


def test_axes_of_sizes_begin_at_zero() -> None:
    assert drawn()["pareto"].axes[0].get_xlim()[0] == 0
    sizes = drawn()["rounds"].axes[-1]
    assert sizes.get_ylim()[0] == 0


def test_shares() -> None:
    assert near_zero(np.array([0.0, 0.0005, -0.0005, 0.5], dtype=np.float32), 1e-3) == 0.75
    counts = np.array([[3.0, 1.0], [0.0, 0.0]])
    np.testing.assert_allclose(figures.Confusion("", ["a", "b"], counts).shares, [[0.75, 0.25], [0, 0]])


def test_the_same_data_give_the_same_picture() -> None:
    values = {0: np.linspace(-1, 1, 50, dtype=np.float32)}
    assert figures.png(figures.weights_figure(values)) == figures.png(figures.weights_figure(values))
