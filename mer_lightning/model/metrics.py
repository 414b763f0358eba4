"""Scores from sums: Dis, Dim and Com of MER 2023, UAR, macro F1 and accuracy."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from mer_lightning.files.recorded import Scores

DIM_WEIGHT = 0.25
MER_VARIANCE = 3.2  # of the 3,373 training valences of MER 2023, from their published aggregates


def selection(scores: Scores, variance: float, monitor: str = "score") -> float:
    """What training and the choice of the round maximise: Com in the spread of MER 2023, or Dis alone.

    Com weighs an error of valence by the labels' units; here it weighs the error as if the labels had the
    variance of MER 2023's, so that their units do not matter. On MER 2023 it is Com.

    Args:
        variance: of the training part's valences, in the units of ``scores.dim``.
        monitor: the name of another score to maximise instead; of ``dim`` the negative.
    """
    if monitor != "score":
        value = getattr(scores, monitor)
        if value is None:
            raise ValueError(f"no labels for {monitor}")
        return -float(value) if monitor == "dim" else float(value)
    if scores.dis is None:
        raise ValueError("no labels to score against")
    return (
        scores.dis if scores.dim is None else scores.dis - DIM_WEIGHT * MER_VARIANCE * scores.dim / variance
    )


def in_units(scores: Scores, deviation: float) -> Scores:
    """Scores on standardised valences, told in the units of labels with that deviation."""
    if scores.dim is None:
        return scores
    dim = scores.dim * deviation**2
    return replace(scores, dim=dim, com=None if scores.dis is None else scores.dis - DIM_WEIGHT * dim)


def weighted_f1(confusion: Tensor) -> Tensor:
    """F1 per class, averaged by the class's true count; NaN where nothing is counted.

    (..., C, C) counts, rows true, columns predicted -> (...).
    """
    confusion = confusion.double()
    hits = confusion.diagonal(dim1=-2, dim2=-1)
    true, predicted = confusion.sum(dim=-1), confusion.sum(dim=-2)
    f1 = 2 * hits / (true + predicted).clamp_min(1)
    return (f1 * true).sum(dim=-1) / true.sum(dim=-1)


def class_scores(confusion: Tensor) -> dict[str, Tensor]:
    """UAR, macro F1 and accuracy, as ``Scores`` has them; NaN where nothing is counted.

    (..., C, C) counts, rows true, columns predicted -> (...) each.
    """
    confusion = confusion.double()
    hits = confusion.diagonal(dim1=-2, dim2=-1)
    true, predicted = confusion.sum(dim=-1), confusion.sum(dim=-2)
    recall, f1 = hits / true.clamp_min(1), 2 * hits / (true + predicted).clamp_min(1)
    return {
        "uar": recall.sum(dim=-1) / (true > 0).sum(dim=-1),
        "macro_f1": f1.sum(dim=-1) / (true + predicted > 0).sum(dim=-1),
        "accuracy": hits.sum(dim=-1) / true.sum(dim=-1),
    }


class EmotionMetrics(Metric):
    """All of ``Scores`` from sums alone, so that they add up exactly over batches and processes.

    Args:
        classes: C, the number of emotions.

    ``compute()`` gives a dict of scalar tensors, named as in ``Scores``; NaN where no label is known.
    Further arguments are torchmetrics' own.
    """

    full_state_update = False
    confusion: Tensor
    squared_error: Tensor
    valences: Tensor

    def __init__(self, classes: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.classes = classes
        self.add_state("confusion", torch.zeros(classes, classes, dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("squared_error", torch.zeros((), dtype=torch.double), dist_reduce_fx="sum")
        self.add_state("valences", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def update(self, posterior: Tensor, valence: Tensor, emotion: Tensor, target_valence: Tensor) -> None:
        """Posteriors (B, C), valences (B,), true classes (B,) with -1 and true valences (B,) with NaN."""
        known = emotion >= 0
        cell = emotion[known] * self.classes + posterior.argmax(dim=-1)[known]
        counts = torch.bincount(cell, minlength=self.classes**2)
        self.confusion += counts.view(self.classes, self.classes)
        labelled = ~target_valence.isnan()
        error = torch.where(labelled, valence - target_valence, 0.0).double()
        self.squared_error += error.square().sum()
        self.valences += labelled.sum()

    def compute(self) -> dict[str, Tensor]:
        """The scores of all that was seen."""
        dis = weighted_f1(self.confusion)
        dim = self.squared_error / self.valences
        return {"dis": dis, "dim": dim, "com": dis - DIM_WEIGHT * dim} | class_scores(self.confusion)

    def scores(self) -> Scores:
        """``compute()`` as plain numbers, None where no label is known."""
        values = {name: float(value) for name, value in self.compute().items()}
        with self.sync_context(should_sync=self.sync_on_compute):  # the labels of all processes
            emotions, valences = bool(self.confusion.sum() > 0), bool(self.valences > 0)
        known = {"dim": valences, "com": emotions and valences}
        return Scores(
            **{name: value if known.get(name, emotions) else None for name, value in values.items()}
        )


def score(posterior: Tensor, valence: Tensor, emotion: Tensor, target_valence: Tensor) -> Scores:
    """The scores of predictions (B, C) and (B,) against labels (B,) and (B,)."""
    metrics = EmotionMetrics(posterior.shape[-1], sync_on_compute=False)  # these alone, whoever else computes
    metrics.update(posterior, valence, emotion, target_valence)
    return metrics.scores()
