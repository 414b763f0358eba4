"""The LightningModule: one round's loss, validation score and optimiser."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import lightning as L
import torch
from torch import Tensor

from mer_lightning.config.groups import LossConfig, TrainerConfig
from mer_lightning.data.datamodule import Batch
from mer_lightning.data.standardise import ValenceScale
from mer_lightning.errors import UserError
from mer_lightning.model.base import Decision, EmotionNetwork
from mer_lightning.model.losses import UncertaintyWeighting, emotion_loss, valence_loss
from mer_lightning.model.metrics import EmotionMetrics, in_units, selection
from mer_lightning.pnao.nodes import Nodes

SCORE = "val/score"  # what early stopping monitors: Com, or Dis without valence labels


def schedule_factor(schedule: str, epochs: int) -> Callable[[int], float]:
    """Epoch -> factor on the learning rate.

    ``constant``: 1. ``cosine``: ``(1 + cos(pi t / T)) / 2`` over the T epochs of the whole schedule.
    """
    if schedule == "constant":
        return lambda epoch: 1.0
    return lambda epoch: 0.5 * (1 + math.cos(math.pi * epoch / epochs))


def task_losses(decision: Decision, batch: Batch, loss: LossConfig) -> tuple[Tensor, Tensor]:
    """L_e and L_v of a batch, scalars.

    ``branch``: mean over the branches; ``fused``: of the fused decision; ``both``: the fused one's plus
    ``auxiliary`` times the branches'. With ``branch``, a fusion with weights of its own (attention) learns
    them from the fused decision's losses, which add gradients to these weights and nothing to the value.
    """
    branch = {"branch": 1.0, "fused": 0.0, "both": loss.auxiliary}[loss.supervision]
    emotion = valence = decision.log_posterior.new_zeros(())
    if branch:
        emotion = branch * emotion_loss(decision.branch_log_posteriors, batch.emotion)
        valence = branch * valence_loss(decision.branch_valences, batch.valence)
    if loss.supervision != "branch":
        emotion = emotion + emotion_loss(decision.log_posterior, batch.emotion)
        valence = valence + valence_loss(decision.valence, batch.valence)
    elif decision.weights.requires_grad:
        emotion = emotion + gradient_alone(emotion_loss(decision.log_posterior, batch.emotion))
        valence = valence + gradient_alone(valence_loss(decision.valence, batch.valence))
    return emotion, valence


def gradient_alone(loss: Tensor) -> Tensor:
    """Zero, with the gradient of ``loss``."""
    return loss - loss.detach()


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


class EmotionModule(L.LightningModule):
    """Trains a network for one round.

    ``weighting`` comes from outside because its d carry over from round to round.
    """

    def __init__(
        self,
        network: EmotionNetwork,
        weighting: UncertaintyWeighting,
        loss: LossConfig,
        trainer: TrainerConfig,
    ) -> None:
        super().__init__()
        self.network = network
        self.network.fusion_learns_alone = loss.supervision == "branch"
        self.weighting = weighting
        self.loss = loss
        self.settings = trainer
        self.metrics = EmotionMetrics(network.architecture.classes)
        self.history: list[dict[str, float | None]] = []
        self.losses: list[Tensor] = []  # of the epoch's batches
        self.finite = torch.ones((), dtype=torch.bool)  # whether all decisions of the epoch are numbers

    def forward(self, features: Mapping[str, Tensor]) -> Decision:
        """Feature set -> (B, D_s), standardised -> the decision for each of the B utterances."""
        decision: Decision = self.network(features)
        return decision

    def node_groups(self) -> Nodes:
        """The network's nodes, for PNAO."""
        return self.network.node_groups().under("network")

    def _over_ranks(self, x: Tensor) -> Tensor:
        """``x`` added up over all ranks; every rank must take part."""
        return x if self.trainer.world_size == 1 else cast(Tensor, self.all_gather(x)).sum(dim=0)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The weighted loss of a batch (without the sparse term, which goes into the gradients)."""
        losses = torch.stack(task_losses(self.network(batch.features), batch, self.loss))
        known = torch.stack([(batch.emotion >= 0).sum(), (~batch.valence.isnan()).sum()])
        share, present = share_of_labels(known, self._over_ranks(known), self.trainer.world_size)
        total: Tensor = self.weighting(*(losses * share), present)
        self.losses.append(total.detach())
        return total

    def on_train_epoch_start(self) -> None:
        """Start the epoch's losses; they stay on the device, nothing is logged step by step."""
        self.losses = []
        self.finite = torch.ones((), dtype=torch.bool, device=self.device)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Count the batch's hits and errors."""
        decision = self.network(batch.features)
        self.finite &= decision.log_posterior.isfinite().all() & decision.valence.isfinite().all()
        self.metrics.update(decision.log_posterior, decision.valence, batch.emotion, batch.valence)

    def on_validation_epoch_end(self) -> None:
        """Log the epoch's score, and refuse to go on from a loss that is no number."""
        if self.trainer.sanity_checking:
            self.metrics.reset()
            return
        scores = self.metrics.scores()
        self.metrics.reset()
        losses = self._over_ranks(torch.stack(self.losses)) / self.trainer.world_size
        finite = not self._over_ranks((~self.finite).long())  # the same on every rank: all stop, or none
        self._refuse_odd_numbers(losses.tolist(), finite)
        self.log(SCORE, selection(scores, variance=1.0))
        scale = getattr(self.trainer.datamodule, "valence_scale", ValenceScale())  # type: ignore[attr-defined]
        told = vars(in_units(scores, scale.deviation))
        self.history.append({"loss": float(losses.mean()), **told})

    def _refuse_odd_numbers(self, losses: Sequence[float], finite: bool) -> None:
        """A UserError for a batch's loss that is no number, or decisions that are none."""
        odd = [(number, loss) for number, loss in enumerate(losses, 1) if not math.isfinite(loss)]
        if odd:
            (number, loss), *_ = odd
            what = f"the loss became {loss} in batch {number}"
        elif not finite:
            what = f"the network's decisions became NaN after batch {len(losses)}, the last,"
        else:
            return
        raise UserError(
            f"{what} of epoch {self.current_epoch}: lower trainer.learning_rate "
            f"(now {self.settings.learning_rate:g}), or look for extreme values in the features"
        )

    def configure_optimizers(self) -> Any:  # Lightning takes many forms
        """AdamW, fused; no weight decay on the d of the loss. The schedule moves once an epoch."""
        settings = self.settings
        groups = [
            {"params": list(self.network.parameters()), "weight_decay": settings.weight_decay},
            {
                "params": list(self.weighting.parameters()),
                "weight_decay": 0.0,
                "lr": settings.learning_rate * self.loss.delta_rate,
            },
        ]
        optimiser = torch.optim.AdamW(groups, lr=settings.learning_rate, fused=True)
        factor = schedule_factor(settings.schedule, settings.epochs)
        return [optimiser], [torch.optim.lr_scheduler.LambdaLR(optimiser, factor)]
