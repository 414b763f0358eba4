"""A whole run, for tests that stop it, kill it, or share it among processes."""

import time
from pathlib import Path
from typing import Any

import lightning as L

from mer_lightning.pnao import PNAO
from tests.pnao import conftest  # noqa: F401  (one thread also in processes of their own)
from tests.pnao.nets import Regression, train

LAST = 2


def start() -> Regression:
    """The module before its training, as each process makes it."""
    L.seed_everything(3, verbose=False)
    return Regression(dropout=0.3)


def settings(folder: Path | None) -> dict[str, Any]:
    rounds = {"rate": 0.35, "rounds": LAST, "rewind_epoch": 1, "optimizer": "carry"}
    return {**rounds, "alpha": 1e-3, "max_share": 0.5, "dirpath": folder}


def finish(folder: Path | None, *callbacks: L.Callback, **options: Any) -> tuple[L.LightningModule, PNAO]:
    """What is left of the run."""
    module, pnao = start(), PNAO(**settings(folder))
    return train(pnao, module, *callbacks, **options), pnao


def files(folder: Path) -> dict[str, bytes]:
    """All files of a run."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


class Slow(L.Callback):
    """Leaves time to be killed in."""

    def on_train_batch_end(self, *_: Any) -> None:
        time.sleep(0.005)


def slowly(folder: Path) -> None:
    """The run in a process of its own."""
    finish(folder, Slow())
