"""One fit with a fresh Trainer: to the early-stop point and back to its weights."""

import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from torch import Tensor

from mer_lightning.data.datamodule import FoldData
from mer_lightning.devices import placement, quieten_lightning
from mer_lightning.network.module import SCORE, EmotionModule
from mer_lightning.settings import TrainerConfig

Moments = dict[str, Tensor]  # "exp_avg/NAME", "exp_avg_sq/NAME", "step/NAME" -> tensor


class Progress(L.Callback):
    """Tells ``report`` the epoch and its score, after every epoch."""

    def __init__(self, report: Callable[[int, float], None]) -> None:
        self.report = report

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The score has just been logged."""
        self.report(trainer.current_epoch + 1, float(trainer.callback_metrics[SCORE]))


def fit(
    module: EmotionModule,
    data: FoldData,
    epochs: int,
    folder: Path | None,
    device: int | None,
    callbacks: Sequence[L.Callback],
) -> Moments:
    """Train ``module`` for at most ``epochs`` and leave it at its early-stop point.

    Args:
        folder: where the checkpoint of the early-stop point is kept meanwhile; None on the ranks above 0,
            which train along and go back to nothing.
        device: index of the accelerator to use, None for Lightning's choice, or for all of a shared fit.

    Returns:
        The optimiser's moments at the early-stop point, by parameter name; none without a folder.
    """
    quieten_lightning()
    settings = module.settings
    best = ModelCheckpoint(folder, filename="best", monitor=SCORE, mode="max", save_top_k=1)
    stop = EarlyStopping(SCORE, mode="max", patience=settings.patience, check_finite=True)
    trainer = make_trainer(settings, epochs, device, [*callbacks, stop, best])
    module.train()  # Lightning trains in the mode it finds; networks from files are in evaluation mode
    try:
        trainer.fit(module, datamodule=data)
    except SystemExit as error:  # what Lightning makes of Ctrl-C and of what is treated like it
        signal.signal(signal.SIGINT, signal.default_int_handler)  # which it has switched off
        raise error.__context__ or error from None
    if folder is None:
        return {}
    checkpoint = torch.load(best.best_model_path, map_location="cpu", weights_only=True)
    Path(best.best_model_path).unlink()  # what is kept is written as safetensors
    module.load_state_dict(checkpoint["state_dict"])
    return moments_by_name(module, checkpoint["optimizer_states"][0]["state"])


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
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,  # the loaders divide the batches themselves
    )
    # SIGTERM is treated like Ctrl-C (signals.py), not put off to the end of a batch
    trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]
    return trainer


def moments_by_name(module: EmotionModule, state: dict[int, dict[str, Tensor]]) -> Moments:
    """The optimiser's state, kept by index, under the parameters' names."""
    names = [name for name, _ in module.network.named_parameters()]
    return {
        f"{kind}/{names[index]}": tensor
        for index, kinds in state.items()
        if index < len(names)  # what follows are the d of the loss, which carry over by themselves
        for kind, tensor in kinds.items()
    }
