"""Lightning's callbacks of the user's, on the Trainer of each fit."""

import math
from collections.abc import Mapping
from typing import Any

import lightning as L
from lightning.pytorch.loggers.logger import Logger

from mer_lightning.config.target import made
from mer_lightning.errors import UserError
from mer_lightning.pnao.checks import CLASHING

OURS = ("train/", "val/", "pnao/")  # metrics that are told anyway


def make_callbacks(settings: Mapping[str, Any]) -> list[L.Callback]:
    """Fresh callbacks of the configuration's ``callbacks``.

    Raises UserError for what cannot be made, is no callback, or changes weights behind PNAO's back.
    """
    callbacks = []
    for name, own in settings.items():
        callback = made(f"callbacks.{name}", own, L.Callback, {})
        if isinstance(callback, CLASHING):
            raise UserError(
                f"callbacks.{name}: {type(callback).__name__} changes the weights, as PNAO does; remove it"
            )
        callbacks.append(callback)
    return callbacks


class Heard(Logger):
    """A logger that keeps what callbacks log, for the epoch's row on the dashboards."""

    def __init__(self) -> None:
        super().__init__()
        self.values: dict[str, float] = {}

    @property
    def name(self) -> str:
        """None: what callbacks write goes into the fit's own folder."""
        return ""

    @property
    def version(self) -> str:
        """None."""
        return ""

    @property
    def experiment(self) -> Any:
        """None: there is nothing behind it."""
        return None

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Keep finite numbers that are not told anyway."""
        others = {
            k: float(v) for k, v in metrics.items() if k not in ("lr", "epoch") and not k.startswith(OURS)
        }
        self.values |= {k: v for k, v in others.items() if math.isfinite(v)}

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """The run directory has them."""

    def take(self) -> dict[str, float]:
        """What was heard since the last time."""
        values, self.values = self.values, {}
        return values
