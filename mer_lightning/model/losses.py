"""The loss of a round: two tasks, weighted by uncertainty (Eq. 9), and the sparse term (Eq. 8)."""

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from mer_lightning.config.registry import WEIGHTINGS
from mer_lightning.data.datamodule import Batch
from mer_lightning.errors import UserError
from mer_lightning.model.base import Decision


def masked_mean(losses: Tensor, known: Tensor) -> Tensor:
    """Mean of ``losses`` over the entries where ``known``; 0 where none is. Same shapes -> scalar.

    known: bool, or weights, which are 0 where an entry is not known and else at least 1.
    """
    return torch.where(known > 0, known * losses, 0.0).sum() / known.sum().clamp_min(1)


def emotion_weights(emotion: Tensor, class_weights: Tensor | None) -> Tensor:
    """(B,) classes, -1 where unknown -> (B,) how much each counts: its class's weight (C,), 0 if unknown."""
    known = emotion >= 0
    return known if class_weights is None else known * class_weights[emotion.clamp_min(0)]


def emotion_loss(log_posterior: Tensor, emotion: Tensor, class_weights: Tensor | None = None) -> Tensor:
    """Cross-entropy over the utterances whose emotion is known.

    Args:
        log_posterior: (B, C), or (B, M, C) for the mean over M branches.
        emotion: (B,) class indices, -1 where unknown.
        class_weights: (C,), at least 1 each; None: all emotions count alike.
    """
    known = emotion_weights(emotion, class_weights)
    index = emotion.clamp_min(0).view(-1, *[1] * (log_posterior.ndim - 1))
    nll = -log_posterior.gather(-1, index.expand(*log_posterior.shape[:-1], 1)).squeeze(-1)
    return masked_mean(nll if nll.ndim == 1 else nll.mean(dim=1), known)


def valence_loss(predicted: Tensor, valence: Tensor) -> Tensor:
    """Mean squared error over the utterances whose valence is known.

    Args:
        predicted: (B,), or (B, M) for the mean over M branches.
        valence: (B,), NaN where unknown.
    """
    known = ~valence.isnan()
    target = torch.where(known, valence, 0.0)
    squared = (predicted - (target if predicted.ndim == 1 else target.unsqueeze(-1))).square()
    return masked_mean(squared if squared.ndim == 1 else squared.mean(dim=1), known)


def share_of_labels(known: Tensor, everywhere: Tensor, ranks: int) -> tuple[Tensor, Tensor]:
    """What makes the mean gradient of all ranks the gradient of the whole batch, however it is divided.

    A loss is a mean over this rank's known labels: times their share of all ranks' and the number of
    ranks, its mean over the ranks is the mean over all labels.

    Args:
        known: (2,) labels for each task in this rank's part of the batch.
        everywhere: (2,) in all ranks' parts.

    Returns:
        (2,) factors on the losses, 1 where this process is alone; (2,) whether any rank has labels.
    """
    return ranks * known / everywhere.clamp_min(1), everywhere > 0


def task_losses(
    decision: Decision,
    batch: Batch,
    supervision: str,
    auxiliary: float,
    class_weights: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """L_e and L_v of a batch, scalars.

    ``branch``: mean over the branches; ``fused``: of the fused decision; ``both``: the fused one's plus
    ``auxiliary`` times the branches'. With ``branch``, a fusion with weights of its own (attention) learns
    them from the fused decision's losses, which add gradients to these weights and nothing to the value.
    """
    branch = {"branch": 1.0, "fused": 0.0, "both": auxiliary}[supervision]
    target = batch.emotion, class_weights
    emotion = valence = decision.log_posterior.new_zeros(())
    if branch:
        emotion = branch * emotion_loss(decision.branch_log_posteriors, *target)
        valence = branch * valence_loss(decision.branch_valences, batch.valence)
    if supervision != "branch":
        emotion = emotion + emotion_loss(decision.log_posterior, *target)
        valence = valence + valence_loss(decision.valence, batch.valence)
    elif decision.weights.requires_grad:
        emotion = emotion + gradient_alone(emotion_loss(decision.log_posterior, *target))
        valence = valence + gradient_alone(valence_loss(decision.valence, batch.valence))
    return emotion, valence


def gradient_alone(loss: Tensor) -> Tensor:
    """Zero, with the gradient of ``loss``."""
    return loss - loss.detach()


def paper(losses: Tensor, log_d: Tensor) -> Tensor:
    """``L_e / d1^2 + L_v / (2 d2^2) + log(1 + d1) + log(1 + d2)``, Eq. 9 as meant."""
    d = log_d.exp()
    return halved(losses) / d.square() + torch.log1p(d)


def kendall(losses: Tensor, log_d: Tensor) -> Tensor:
    """``L_e / d1^2 + L_v / (2 d2^2) + log d1 + log d2`` (Cipolla et al. 2018)."""
    return halved(losses) / log_d.exp().square() + log_d


def liebel(losses: Tensor, log_d: Tensor) -> Tensor:
    """``L_e / (2 d1^2) + L_v / (2 d2^2) + log(1 + d1^2) + log(1 + d2^2)``."""
    d = log_d.exp()
    return 0.5 * losses / d.square() + torch.log1p(d.square())


def unweighted(losses: Tensor, log_d: Tensor) -> Tensor:
    """``L_e + L_v``; the d are not used."""
    return losses


def as_printed(losses: Tensor, log_d: Tensor) -> Tensor:
    """``d1^2 L_e + d2^2 L_v / 2 + log(1 + d1) + log(1 + d2)``: Eq. 9 to the letter, kept for the record.

    Its minimum is d -> 0 for every loss.
    """
    d = log_d.exp()
    return halved(losses) * d.square() + torch.log1p(d)


def halved(losses: Tensor) -> Tensor:
    """(2,) losses, that of valence halved: what cross-entropy and a squared error are in one likelihood."""
    return losses * losses.new_tensor([1.0, 0.5])


class UncertaintyWeighting(nn.Module):
    """Two task losses as one, weighted by learned uncertainties d1, d2 > 0.

    ``weighting`` names a function like those above: (2,) losses and (2,) log d -> (2,) the weighted losses
    with their penalties; ``options`` are its own settings. A task of which a batch has no label adds nothing,
    its logarithm included.
    """

    def __init__(self, weighting: str = "paper", **options: Any) -> None:
        super().__init__()
        self.terms: Callable[[Tensor, Tensor], Tensor] = partial(WEIGHTINGS[weighting], **options)
        if weighting == "as_printed":
            warnings.warn(
                "loss=as_printed: Eq. 9 as printed has its minimum at d -> 0 for every loss, so both "
                "tasks fade out of the objective; use loss=paper",
                UserWarning,
                stacklevel=2,
            )
        found = self.terms(torch.ones(2), torch.zeros(2))
        if found.shape != (2,):
            raise UserError(f"loss={weighting}: expected (2,) weighted losses, found {tuple(found.shape)}")
        self.log_deltas = nn.Parameter(torch.zeros(2))  # d = exp(.) > 0 by construction

    @property
    def deltas(self) -> Tensor:
        """(2,): d1 of the emotion loss, d2 of the valence loss."""
        return self.log_deltas.exp()

    def forward(self, emotion_loss: Tensor, valence_loss: Tensor, present: Tensor) -> Tensor:
        """Two scalar losses, and (2,) bool whether the batch has labels for each -> the scalar total."""
        losses = torch.stack([emotion_loss, valence_loss])
        return (self.terms(losses, self.log_deltas) * present).sum()
