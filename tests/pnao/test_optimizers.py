"""The optimizer's side of a round: rewinding, and state that is carried."""

from collections.abc import Callable
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mer_lightning.pnao import PNAO
from tests.pnao.nets import Scripted, fit, new


class Rates(L.Callback):
    """The learning rate at each batch, and the number of epochs, of each fit."""

    def __init__(self) -> None:
        self.fits: list[list[float]] = []
        self.epochs: list[int] = []

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.fits.append([])
        self.epochs.append(0)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.epochs[-1] += 1

    def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
        self.fits[-1].append(trainer.optimizers[0].param_groups[0]["lr"])


Schedule = Callable[[torch.optim.Optimizer], torch.optim.lr_scheduler.LRScheduler]
SCHEDULES: dict[str, tuple[Schedule, str, int]] = {
    "lambda": (lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda t: 1 / (1 + t)), "epoch", 1),
    "cosine": (lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 6), "epoch", 1),
    "cosine-each-second": (lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 6), "epoch", 2),
    "onecycle": (lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.1, total_steps=19), "step", 1),
    "each-second-step": (lambda o: torch.optim.lr_scheduler.ExponentialLR(o, 0.9), "step", 2),
}


def by_hand(schedule: Schedule, interval: str, frequency: int, epochs: int, every: int) -> list[float]:
    """The rates of ``epochs`` epochs of three batches."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1, momentum=0.5)
    scheduler, rates = schedule(optimizer), []
    for epoch in range(1, epochs + 1):
        for b in (1, 2, 3):
            rates.append(optimizer.param_groups[0]["lr"])
            if b % every and b != 3:
                continue
            optimizer.step()
            if interval == "step" and b % frequency == 0:
                scheduler.step()
        if interval == "epoch" and epoch % frequency == 0:
            scheduler.step()
    return rates


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("every", [1, 2])
@pytest.mark.parametrize("epoch", [0, 2, 4])
def test_a_round_goes_through_the_schedule_from_the_rewound_epoch_on(
    name: str, every: int, epoch: int
) -> None:
    schedule, interval, frequency = SCHEDULES[name]

    def optimizers(module: L.LightningModule) -> Any:
        optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.5)
        config = {"scheduler": schedule(optimizer), "interval": interval, "frequency": frequency}
        return [optimizer], [config]

    pnao, rates = PNAO(rate=0.2, rounds=1, rewind_epoch=epoch), Rates()
    module = new(optimizers=optimizers)
    for _ in pnao.rounds(module):
        fit(pnao, module, rates, max_epochs=6, accumulate_grad_batches=every)
    expected = by_hand(schedule, interval, frequency, 6, every)
    assert len(set(expected)) > 2
    assert rates.fits == [expected, expected[3 * epoch :]]
    assert rates.epochs == [6, 6 - epoch]


def test_a_limit_on_steps_is_rewound_too() -> None:
    pnao, rates, module = PNAO(rounds=1, rewind_epoch=1), Rates(), new()
    for _ in pnao.rounds(module):
        fit(pnao, module, rates, max_epochs=-1, max_steps=7)
    assert [len(found) for found in rates.fits] == [7, 4]


class First(L.Callback):
    """The optimizer's state, by parameter, as each fit makes its first step; and that of each epoch's end."""

    def __init__(self) -> None:
        self.fits: list[dict[str, dict[str, Tensor]]] = []
        self.epochs: list[dict[str, dict[str, Tensor]]] = []

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.began = False

    def on_before_optimizer_step(
        self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Any
    ) -> None:
        if not self.began:
            self.fits.append(state(pl_module, optimizer))
        self.began = True

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.sanity_checking:
            self.epochs.append(state(pl_module, trainer.optimizers[0]))


def state(module: L.LightningModule, optimizer: torch.optim.Optimizer) -> dict[str, dict[str, Tensor]]:
    return {
        name: {kind: tensor.clone() for kind, tensor in optimizer.state.get(parameter, {}).items()}
        for name, parameter in module.named_parameters()
    }


OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "adam": lambda p: torch.optim.Adam(p, lr=0.02, amsgrad=True),
    "adamw-fused": lambda p: torch.optim.AdamW(p, lr=0.02, fused=True),
    "sgd": lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.9),
    "adafactor": lambda p: torch.optim.Adafactor(p, lr=0.02),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("kept", [False, True])
def test_carried_state_is_that_of_the_early_stop_point_for_the_nodes_that_stay(
    name: str, kept: bool, tmp_path: Any
) -> None:
    """In numpy, by hand: not halved, none dropped, not the last epoch's."""

    def optimizers(module: L.LightningModule) -> Any:
        return OPTIMIZERS[name](module.parameters())

    masks = {"net.0": np.arange(8) % 3 != 1, "net.3": np.arange(6) >= 2}
    pnao = PNAO(
        rounds=1,
        optimizer="carry",
        masks=lambda importances, number: {g: torch.from_numpy(mask) for g, mask in masks.items()},
        dirpath=tmp_path if kept else None,
    )
    first, module = First(), Scripted([2.0, 1.0, 3.0], optimizers=optimizers)
    for _ in pnao.rounds(module):
        fit(pnao, module, first)
    rows = {"net.0": masks["net.0"], "net.3": masks["net.3"], "net.6": np.ones(2, bool)}
    columns = {"net.0": np.ones(5, bool), "net.3": masks["net.0"], "net.6": masks["net.3"]}
    began, ended = first.fits[1], first.epochs[1]
    assert not any(first.fits[0].values())
    for parameter, kinds in ended.items():
        layer, _, tensor = parameter.rpartition(".")
        assert kinds.keys() == began[parameter].keys()
        for kind, full in kinds.items():
            expected = full.numpy()
            if expected.ndim and expected.shape[0] == len(rows[layer]):
                expected = expected[rows[layer]]
            if tensor == "weight" and expected.ndim == 2 and expected.shape[1] == len(columns[layer]):
                expected = expected[:, columns[layer]]
            np.testing.assert_array_equal(began[parameter][kind], expected, err_msg=f"{kind}/{parameter}")
            assert np.abs(expected).sum() > 0


def test_reset_state_is_empty() -> None:
    pnao, module, first = PNAO(rate=0.5, rounds=1, optimizer="reset"), new(), First()
    for _ in pnao.rounds(module):
        fit(pnao, module, first)
    assert [any(found.values()) for found in first.fits] == [False, False]
