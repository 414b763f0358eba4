"""Expected calibration error against an independent computation."""

import numpy as np
import pytest

from mer_lightning.report.calibration import reliability, run_reliability
from mer_lightning.report.runs import FinishedRun


def plain_ece(posterior: np.ndarray, emotion: np.ndarray, bins: int) -> float:
    """Bin by bin, utterance by utterance."""
    total, n = 0.0, 0
    for b in range(bins):
        confidences, hits = [], []
        for p, y in zip(posterior, emotion, strict=True):
            if y >= 0 and b / bins < max(p) <= (b + 1) / bins:
                confidences.append(max(p))
                hits.append(float(np.argmax(p) == y))
        if hits:
            total += len(hits) * abs(np.mean(hits) - np.mean(confidences))
            n += len(hits)
    return total / n


@pytest.mark.parametrize("bins", [5, 10, 15])
def test_ece_equals_an_independent_computation(bins: int) -> None:
    rng = np.random.default_rng(bins)
    posterior, emotion = rng.dirichlet([0.4] * 4, 500), rng.integers(-1, 4, 500)
    found = reliability(posterior, emotion, bins)
    assert found.ece == pytest.approx(plain_ece(posterior, emotion, bins))
    assert found.counts.sum() == (emotion >= 0).sum()


def test_certainty_that_is_always_right_or_always_wrong() -> None:
    certain = np.eye(3)
    assert reliability(certain, np.arange(3)).ece == 0
    assert reliability(certain, (np.arange(3) + 1) % 3).ece == 1
    assert reliability(certain, np.arange(3)).counts[-1] == 3
    assert reliability(certain, np.full(3, -1)).ece == 0


def test_a_run_has_the_fused_posterior_and_its_branches(finished: list[FinishedRun]) -> None:
    run = next(r for r in finished if r.experiment == "pnao")
    found = run_reliability(run)
    assert list(found) == ["fused", "low", "high"]
    rows = run.fold >= 0
    assert found["fused"].ece == pytest.approx(
        plain_ece(run.decision.posterior.double().numpy()[rows], run.emotion[rows], 10)
    )
    assert all(r.counts.sum() == rows.sum() for r in found.values())
