"""The callback of PNAO: the sparse training of Algorithm 1, line 1."""

from typing import cast

import lightning as L
from torch import nn
from torch.optim import Optimizer

from mer_lightning.model.base import prunable_weights
from mer_lightning.model.losses import add_l1_subgradient
from mer_lightning.model.module import EmotionModule


class SparseTraining(L.Callback):
    """Adds the sparse term of Eq. 8 to the gradients of every step.

    It schedules and delegates; nodes are removed between fits, never inside one, because the
    optimiser would keep the dead ones.
    """

    def __init__(self, alpha: float) -> None:
        self.alpha = alpha
        self.weights: list[nn.Parameter] = []

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Find the weights of this round's network."""
        self.weights = prunable_weights(cast(EmotionModule, pl_module).network)

    def on_before_optimizer_step(
        self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Optimizer
    ) -> None:
        """After backward, before clipping."""
        if self.alpha > 0:
            add_l1_subgradient(self.weights, self.alpha)
