"""One fit with a fresh Trainer."""

import signal
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import lightning as L
from lightning.pytorch.callbacks import Checkpoint, EarlyStopping, ProgressBar

from mer_lightning.config.groups import TrainerConfig
from mer_lightning.data.datamodule import FoldData
from mer_lightning.model.module import SCORE, EmotionModule
from mer_lightning.training.callbacks import Heard
from mer_lightning.training.devices import placement, quieten_lightning
from mer_lightning.training.news import Epoch, Listener
from mer_lightning.training.signals import stop_if_asked


class Progress(L.Callback):
    """Tells the epoch and its score, after every epoch; ends the fit where a signal asks for it."""

    def __init__(self, fold: int, number: int, tell: Listener) -> None:
        self.fold, self.number, self.tell = fold, number, tell

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The score has just been logged."""
        stop_if_asked()
        history = cast(EmotionModule, pl_module).history
        for logger in trainer.loggers:
            history[-1] |= cast(Heard, logger).take()
        score = float(trainer.callback_metrics[SCORE])
        self.tell(Epoch(self.fold, self.number, trainer.current_epoch + 1, score, dict(history[-1])))


def fit(
    module: EmotionModule,
    settings: TrainerConfig,
    data: FoldData,
    device: int | None,
    ours: Sequence[L.Callback],
    theirs: Sequence[L.Callback] = (),
    folder: Path | None = None,
) -> None:
    """Train ``module`` for at most ``settings.epochs`` epochs.

    Args:
        device: index of the accelerator to use, None for Lightning's choice, or for all of a shared fit.
        theirs: callbacks of the user's. folder: where these may write.
    """
    quieten_lightning()
    stop = EarlyStopping(SCORE, mode="max", patience=settings.patience, check_finite=True)
    trainer = make_trainer(settings, device, [*ours, *theirs, stop], Heard() if theirs else None, folder)
    module.train()  # Lightning trains in the mode it finds; networks from files are in evaluation mode
    handler = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(module, datamodule=data)
    except SystemExit as error:  # what Lightning makes of Ctrl-C and of what is treated like it
        signal.signal(signal.SIGINT, handler)  # which it has switched off
        raise error.__context__ or error from None


def make_trainer(
    settings: TrainerConfig,
    device: int | None,
    callbacks: list[L.Callback],
    logger: Heard | None,
    folder: Path | None,
) -> L.Trainer:
    """A Trainer that prints and logs nothing of its own accord, and checks once an epoch."""
    trainer = L.Trainer(
        **placement(settings, device),
        precision=settings.precision,  # type: ignore[arg-type]
        max_epochs=settings.epochs,
        callbacks=callbacks,
        gradient_clip_val=settings.gradient_clip or None,
        logger=logger or False,
        log_every_n_steps=1,
        default_root_dir=folder,
        enable_checkpointing=any(isinstance(c, Checkpoint) for c in callbacks),  # PNAO keeps the best epoch
        enable_progress_bar=any(isinstance(c, ProgressBar) for c in callbacks),
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,  # the loaders divide the batches themselves
    )
    # SIGTERM is treated like Ctrl-C (signals.py), not put off to the end of a batch
    trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]
    return trainer
