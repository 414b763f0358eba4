"""The early-stop point: the weights of the best epoch, in memory."""

import math
from collections.abc import Mapping

import lightning as L
from torch import Tensor

from mer_lightning.pnao.optimizers import State, state_of


class EarlyStopPoint:
    """Keeps the weights, and the optimizer's state if it is carried, of the epoch with the best score.

    In memory: written to disk at each better epoch they would cost a tenth of it, and nobody would read them,
    because a round that is interrupted is trained again from its beginning.
    """

    def __init__(self, monitor: str, mode: str, keep_state: bool) -> None:
        self.monitor, self.sign, self.keep_state = monitor, {"max": 1, "min": -1}[mode], keep_state
        self.score = math.nan
        self.weights: dict[str, Tensor] = {}
        self.state: State = {}

    def look(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """After an epoch; of equal scores the first counts, and on all ranks that of rank 0.

        Raises:
            ValueError: the metric is not logged.
        """
        if self.monitor not in trainer.callback_metrics:
            known = ", ".join(sorted(trainer.callback_metrics)) or "none"
            raise ValueError(
                f"PNAO: monitor={self.monitor!r} is not logged at the end of validation (or, without one, "
                f"of an epoch: with on_epoch=True, before on_train_epoch_end); logged are {known}"
            )
        score = float(trainer.strategy.broadcast(trainer.callback_metrics[self.monitor].item()))
        if math.isnan(score) or self.sign * score <= self.sign * self.score:
            return
        self.score = score
        overwrite(self.weights, module.state_dict())
        if self.keep_state:
            overwrite(self.state, state_of(module, trainer.optimizers[0]))

    def go_back(self, module: L.LightningModule) -> None:
        """Bring the module to the point. ValueError if no score was a number."""
        if not self.weights:
            raise ValueError(f"PNAO: {self.monitor} was never a number in this fit")
        module.load_state_dict(self.weights)


def overwrite(kept: dict[str, Tensor], tensors: Mapping[str, Tensor]) -> None:
    """Copy tensors into those kept under the same names, so that memory is taken once."""
    for name, tensor in tensors.items():
        if name in kept:
            kept[name].copy_(tensor)
        else:
            kept[name] = tensor.detach().clone()
