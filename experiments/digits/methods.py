"""The ways to a smaller network, each as a user would write it."""

import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint, ModelPruning
from torch import nn

from experiments.digits.task import Classifier, Task
from mer_lightning.pnao import PNAO, fit_widths
from mer_lightning.pnao.masks import random_masks, share_left


def pnao(task: Task, **options: Any) -> tuple[Classifier, PNAO]:
    """Algorithm 1."""
    module, callback = task.module(), PNAO(rounds=task.rounds, **options)
    for _ in callback.rounds(module):
        task.fit(module, task.epochs, callback)
    return module, callback


def at_random(task: Task, history: Sequence[Mapping[str, Any]]) -> Classifier:
    """As many nodes a round and group as in ``history``, but any."""
    return pnao(task, masks=lambda g, n: random_masks(g, history[n]["widths"], 100 * task.seed + n))[0]


def one_fit(task: Task, like: nn.Module | None = None) -> Classifier:
    """Nothing is pruned: all epochs in a row, at full width, or at the widths of ``like`` from the start."""
    module, callback = task.module(), PNAO(rounds=0)
    if like is not None:
        fit_widths(module, like.state_dict())
        module.apply(lambda layer: getattr(layer, "reset_parameters", lambda: None)())
    for _ in callback.rounds(module):
        task.fit(module, task.total, callback)
    return module


def torch_pruning(task: Task) -> Classifier:
    """Torch-Pruning: global magnitude, fine-tuned after each step."""
    import torch_pruning as tp

    module = task.module()
    full, layers = size(module), weighted(module)
    for number in range(task.rounds + 1):
        pruner = tp.pruner.BasePruner(
            module.net,
            torch.zeros(1, 64),
            importance=tp.importance.MagnitudeImportance(),
            global_pruning=True,
            pruning_ratio=1.0,
            iterative_steps=400,
            ignored_layers=layers[-1:],
        )
        while size(module) > full * share_left(task.keep, number, task.rounds):
            pruner.step()
        fit_to_best(task, task.epochs, module, ModelCheckpoint)
    return module


def model_pruning(task: Task) -> Classifier:
    """Lightning's ModelPruning, in one fit, because its masks end with the fit.

    Its share is of each layer's nodes: 1 - sqrt(keep) would leave ``keep`` of the weights, if they went.
    """
    module, last = task.module(period=task.epochs), task.epochs * task.rounds

    class AfterPruning(ModelCheckpoint):
        def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
            if trainer.current_epoch >= last:
                super().on_validation_end(trainer, pl_module)

    def left(epoch: int) -> float:
        return share_left(task.keep**0.5, (epoch + 1) // task.epochs, task.rounds)

    pruning = ModelPruning(
        "ln_structured",
        [(layer, "weight") for layer in weighted(module)[:-1]],
        amount=lambda epoch: 1 - left(epoch) / left(epoch - task.epochs),  # type: ignore[arg-type]
        apply_pruning=lambda epoch: (epoch + 1) % task.epochs == 0 and epoch < last,
        use_global_unstructured=False,
        use_lottery_ticket_hypothesis=False,
        pruning_dim=0,
        pruning_norm=2,
    )
    fit_to_best(task, task.total, module, AfterPruning, pruning)
    return module


def fit_to_best(
    task: Task, epochs: int, module: Classifier, keeper: type[ModelCheckpoint], *callbacks: L.Callback
) -> None:
    """A fit, and back to its best epoch, which PNAO does by itself."""
    with tempfile.TemporaryDirectory() as folder:
        best = keeper(folder, monitor="val_loss", save_on_train_epoch_end=False)
        task.fit(module, epochs, best, *callbacks)
        module.load_state_dict(torch.load(best.best_model_path, weights_only=True)["state_dict"])


def weighted(module: nn.Module) -> list[nn.Module]:
    """The layers with weights; the last gives the classes."""
    return [m for m in module.modules() if isinstance(m, nn.Linear | nn.Conv2d)]


def size(module: nn.Module) -> int:
    """Number of parameters."""
    return sum(p.numel() for p in module.parameters())
