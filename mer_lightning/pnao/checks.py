"""What PNAO refuses, before any training."""

from collections.abc import Sequence

import lightning as L
from lightning.pytorch.callbacks import ModelPruning, StochasticWeightAveraging, WeightAveraging
from lightning.pytorch.strategies import DDPStrategy, DeepSpeedStrategy, SingleDeviceStrategy
from lightning.pytorch.strategies.launchers import _MultiProcessingLauncher
from torch.optim import Optimizer

from mer_lightning.pnao.store import RoundStore

CLASHING = (StochasticWeightAveraging, WeightAveraging, ModelPruning)


def check_values(**values: tuple[object, bool]) -> None:
    """ValueError for the first argument, name=(value, whether it makes sense), that makes none."""
    for name, (value, fine) in values.items():
        if not fine:
            raise ValueError(f"PNAO: {name}={value!r} is not valid; see help(PNAO)")


def check_optimizers(optimizers: Sequence[Optimizer], module: L.LightningModule) -> None:
    """ValueError for an optimizer of other parameters: those that pruning has replaced, in a later round."""
    own = {id(parameter) for parameter in module.parameters()}
    if any(id(p) not in own for o in optimizers for group in o.param_groups for p in group["params"]):
        raise ValueError(
            "PNAO: an optimizer has parameters that are not the module's, or not any more; make it anew in "
            "configure_optimizers, from self.parameters()"
        )


def check_fit(number: int | None, store: RoundStore, trainer: L.Trainer, module: L.LightningModule) -> None:
    """Refuse a fit that cannot be a round.

    Args:
        number: of the round that waits for its fit, if one does.

    Raises:
        RuntimeError: no round waits, or the Trainer has trained before.
        ValueError: something does not go with pruning.
    """
    if number is None or store.done(number):
        raise RuntimeError("PNAO: a fit outside of a round; loop over pnao.rounds(module), one fit a turn")
    if trainer.global_step or trainer.current_epoch:
        raise RuntimeError(
            "PNAO: this Trainer has trained before and would stop early; make a new one a round"
        )
    if not module.automatic_optimization:
        raise ValueError("PNAO: manual optimization has no step to add the sparse term to; use automatic")
    strategy = trainer.strategy
    whole = isinstance(strategy, SingleDeviceStrategy | DDPStrategy)
    if not whole or isinstance(strategy, DeepSpeedStrategy):
        name = type(strategy).__name__
        raise ValueError(f"PNAO: {name} keeps parts of the parameters, which cannot be pruned; use ddp")
    if isinstance(trainer.strategy.launcher, _MultiProcessingLauncher) and store.path is None:
        raise ValueError("PNAO: spawned processes keep their rounds to themselves; give PNAO a dirpath")
    callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    if clashing := [type(c).__name__ for c in callbacks if isinstance(c, CLASHING)]:
        raise ValueError(f"PNAO: {clashing[0]} also changes the weights; remove it")
    if trainer.ckpt_path is not None:
        raise ValueError("PNAO: rounds are resumed by pnao.rounds(module); call fit without ckpt_path")
