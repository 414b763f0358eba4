"""One fit with a fresh Trainer: to the early-stop point and back to its weights."""

import math
import signal
from collections.abc import Callable, Mapping, Sequence
from typing import cast

import lightning as L
from lightning.pytorch.callbacks import EarlyStopping
from torch import Tensor
from torch.optim import Optimizer

from mer_lightning.config.groups import TrainerConfig
from mer_lightning.data.datamodule import FoldData
from mer_lightning.model.module import SCORE, EmotionModule
from mer_lightning.training.devices import placement, quieten_lightning

Moments = dict[str, Tensor]  # "exp_avg/NAME", "exp_avg_sq/NAME", "step/NAME" -> tensor


class Progress(L.Callback):
    """Tells ``report`` the epoch and its score, after every epoch."""

    def __init__(self, report: Callable[[int, float], None]) -> None:
        self.report = report

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The score has just been logged."""
        self.report(trainer.current_epoch + 1, float(trainer.callback_metrics[SCORE]))


class EarlyStopPoint(L.Callback):
    """Keeps the weights, and the optimiser's moments if they are wanted, of the epoch with the best score.

    In memory: written to disk at each better epoch they would cost a tenth of it, and nobody would read them,
    because a round that is interrupted is trained again from its beginning.
    """

    def __init__(self, keep_moments: bool) -> None:
        self.keep_moments = keep_moments
        self.score = -math.inf
        self.weights: dict[str, Tensor] = {}
        self.moments: Moments = {}

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The score has just been logged; of equals the first counts."""
        score = float(trainer.callback_metrics[SCORE])
        if score > self.score:
            self.score = score
            overwrite(self.weights, pl_module.state_dict())
            if self.keep_moments:
                overwrite(
                    self.moments, moments_by_name(cast(EmotionModule, pl_module), trainer.optimizers[0])
                )


def overwrite(kept: dict[str, Tensor], tensors: Mapping[str, Tensor]) -> None:
    """Copy tensors into those kept under the same names, so that memory is taken once."""
    for name, tensor in tensors.items():
        if name in kept:
            kept[name].copy_(tensor)
        else:
            kept[name] = tensor.clone()


def fit(
    module: EmotionModule,
    data: FoldData,
    epochs: int,
    device: int | None,
    callbacks: Sequence[L.Callback],
    keep_moments: bool = False,
) -> Moments:
    """Train ``module`` for at most ``epochs`` and leave it at its early-stop point.

    Args:
        device: index of the accelerator to use, None for Lightning's choice, or for all of a shared fit.

    Returns:
        The optimiser's moments at the early-stop point, by parameter name; none unless they are to be kept.
    """
    quieten_lightning()
    settings = module.settings
    best = EarlyStopPoint(keep_moments)
    stop = EarlyStopping(SCORE, mode="max", patience=settings.patience, check_finite=True)
    trainer = make_trainer(settings, epochs, device, [*callbacks, stop, best])
    module.train()  # Lightning trains in the mode it finds; networks from files are in evaluation mode
    try:
        trainer.fit(module, datamodule=data)
    except SystemExit as error:  # what Lightning makes of Ctrl-C and of what is treated like it
        signal.signal(signal.SIGINT, signal.default_int_handler)  # which it has switched off
        raise error.__context__ or error from None
    module.load_state_dict(best.weights)
    return {name: tensor.cpu() for name, tensor in best.moments.items()}


def make_trainer(
    settings: TrainerConfig, epochs: int, device: int | None, callbacks: list[L.Callback]
) -> L.Trainer:
    """A Trainer that prints nothing, logs nothing by itself, and checks once an epoch."""
    trainer = L.Trainer(
        **placement(settings, device),
        precision=settings.precision,  # type: ignore[arg-type]
        max_epochs=epochs,
        callbacks=callbacks,
        gradient_clip_val=settings.gradient_clip or None,
        logger=False,
        enable_checkpointing=False,  # see EarlyStopPoint
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,  # the loaders divide the batches themselves
    )
    # SIGTERM is treated like Ctrl-C (signals.py), not put off to the end of a batch
    trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]
    return trainer


def moments_by_name(module: EmotionModule, optimiser: Optimizer) -> Moments:
    """The optimiser's state for the network's parameters; the d of the loss carry over anyway."""
    return {
        f"{kind}/{name}": tensor
        for name, parameter in module.network.named_parameters()
        for kind, tensor in optimiser.state.get(parameter, {}).items()
    }
