"""Does a posterior of 0.8 mean right 8 times in 10? Reliability bins and expected calibration error."""

from typing import NamedTuple

import numpy as np
import torch

from mer_lightning.report.runs import TRAIN_VAL, FinishedRun, Floats, Ints

BINS = 10


class Reliability(NamedTuple):
    """Confidence (largest posterior) against accuracy in bins of equal width over (0, 1]."""

    confidence: Floats  # (bins,) mean in the bin, NaN where it is empty
    accuracy: Floats  # (bins,)
    counts: Ints  # (bins,)
    ece: float  # expected calibration error, in [0, 1]


def reliability(posterior: Floats, emotion: Ints, bins: int = BINS) -> Reliability:
    """Bins and ``ECE = sum_b n_b / n |accuracy_b - confidence_b|`` (Guo et al. 2017, Eq. 3).

    Args:
        posterior: (N, C).
        emotion: (N,) true classes; utterances with -1 are left out.
        bins: number of bins; bin b holds confidences in (b / bins, (b + 1) / bins].
    """
    known = emotion >= 0
    confidence = posterior[known].max(axis=1)
    right = posterior[known].argmax(axis=1) == emotion[known]
    index = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    count = np.bincount(index, minlength=bins)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(index, weights=confidence, minlength=bins) / count
        accuracy = np.bincount(index, weights=right, minlength=bins) / count
    ece = float(np.nansum(count * np.abs(accuracy - mean)) / max(count.sum(), 1))
    return Reliability(mean, accuracy, count, ece)


def run_reliability(run: FinishedRun, bins: int = BINS) -> dict[str, Reliability]:
    """``fused`` and each branch by its name, on the out-of-fold decisions of the reported round.

    A combination of systems with different branches has none of its own: ``fused`` alone.
    """
    rows = run.rows(TRAIN_VAL)
    d = run.decision.select(torch.from_numpy(rows))
    posteriors = [d.log_posterior, *d.branch_log_posteriors.unbind(dim=1)]
    return {
        name: reliability(log_posterior.double().exp().numpy(), run.emotion[rows], bins)
        for name, log_posterior in zip(("fused", *run.branch_names), posteriors, strict=False)
    }
