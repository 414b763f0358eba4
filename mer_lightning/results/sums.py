"""Scores from sums per cluster of utterances, so that clusters can be left out or drawn again."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from mer_lightning.model.metrics import DIM_WEIGHT, weighted_f1

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Sums(NamedTuple):
    """All that Dis, Dim and Com need of K clusters of utterances; of S seeds with a leading axis (S, ...)."""

    confusion: Floats  # (K, C, C) counts, rows true, columns predicted
    error: Floats  # (K,) sums of squared errors of valence
    labelled: Floats  # (K,) counts of known valences


def cluster_sums(
    emotion: Ints, predicted: Ints, valence: Floats, predicted_valence: Floats, cluster: Ints, classes: int
) -> Sums:
    """Sums per cluster.

    Args:
        emotion, predicted: (N,) classes; -1 where the true one is not known.
        valence, predicted_valence: (N,); NaN where the true one is not known.
        cluster: (N,) in 0 .. K-1, every one of them present.
        classes: C.
    """
    count = int(cluster.max()) + 1
    known = emotion >= 0
    cell = (cluster[known] * classes + emotion[known]) * classes + predicted[known]
    confusion = np.bincount(cell, minlength=count * classes**2).reshape(count, classes, classes)
    labelled = np.isfinite(valence)
    error = np.where(labelled, predicted_valence - np.where(labelled, valence, 0), 0.0) ** 2
    return Sums(
        confusion.astype(np.float64),
        np.bincount(cluster, weights=error, minlength=count).astype(np.float64),
        np.bincount(cluster, weights=labelled, minlength=count).astype(np.float64),
    )


def scores(confusion: Floats, error: Floats, labelled: Floats) -> Floats:
    """Sums with any leading shape (..., C, C), (...), (...) -> (..., 3): Dis, Dim, Com."""
    dis = weighted_f1(torch.from_numpy(confusion)).numpy()
    dim = np.where(labelled > 0, error, np.nan) / np.maximum(labelled, 1)
    return np.stack([dis, dim, dis - DIM_WEIGHT * dim], axis=-1)
