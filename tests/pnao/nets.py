"""Tiny modules, data and trainers for PNAO's tests."""

from collections.abc import Callable, Sequence
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from mer_lightning.pnao import PNAO, Nodes, chain

Optimizers = Callable[[L.LightningModule], Any]
LAYERS = ("net.0", "net.3", "net.6")


def mlp(dropout: float = 0.0) -> nn.Sequential:
    """5 inputs, two hidden layers of 8 and 6, 2 outputs."""
    parts: list[nn.Module] = [nn.Linear(5, 8), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*parts, nn.Linear(8, 6), nn.ReLU(), nn.Dropout(dropout), nn.Linear(6, 2))


def adam(module: L.LightningModule) -> Any:
    return torch.optim.Adam(module.parameters(), lr=0.02)


class Regression(L.LightningModule):
    """Any network, mean squared error, ``val_loss`` and ``train_loss`` logged once an epoch."""

    def __init__(
        self,
        net: nn.Module | None = None,
        nodes: Nodes | None = None,
        optimizers: Optimizers = adam,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.net = mlp(dropout) if net is None else net
        self.declared, self.optimizers_of = nodes or chain(*LAYERS), optimizers

    def node_groups(self) -> Nodes:
        return self.declared

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.net(x)
        return y

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = nn.functional.mse_loss(self.net(batch[0]), batch[1])
        self.log("train_loss", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", nn.functional.mse_loss(self.net(batch[0]), batch[1]))

    def configure_optimizers(self) -> Any:
        return self.optimizers_of(self)


class Scripted(Regression):
    """Logs given scores, whatever it learns."""

    def __init__(self, scores: Sequence[float], **options: Any) -> None:
        super().__init__(**options)
        self.scores = scores

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.scores[self.current_epoch])


def new(seed: int = 0, **options: Any) -> Regression:
    """A module whose weights, and whose training, follow from the seed."""
    torch.manual_seed(seed)
    return Regression(**options)


def data(shape: tuple[int, ...] = (5,), n: int = 24, outputs: int = 2) -> TensorDataset:
    generator = torch.Generator().manual_seed(7)
    x, y = torch.randn(n, *shape, generator=generator), torch.randn(n, outputs, generator=generator)
    return TensorDataset(x, y + x.flatten(1)[:, :outputs])


def loaders(dataset: Any = None, batch: int = 8) -> tuple[DataLoader[Any], DataLoader[Any]]:
    """To train on, three shuffled batches; to validate on."""
    dataset = dataset or data()
    return DataLoader(dataset, batch, shuffle=True), DataLoader(dataset, len(dataset))


def trainer(*callbacks: L.Callback, **options: Any) -> L.Trainer:
    quiet = {"enable_progress_bar": False, "enable_model_summary": False}
    plain = {
        "logger": False,
        "enable_checkpointing": False,
        "accelerator": "cpu",
        "devices": 1,
        "max_epochs": 3,
    }
    return L.Trainer(callbacks=list(callbacks), **(quiet | plain | options))


def fit(pnao: PNAO, module: L.LightningModule, *callbacks: L.Callback, **options: Any) -> L.Trainer:
    """One turn."""
    found = trainer(pnao, *callbacks, **options)
    found.fit(module, *loaders())
    return found


def train(pnao: PNAO, module: L.LightningModule, *callbacks: L.Callback, **options: Any) -> L.LightningModule:
    """All rounds that are left."""
    for _ in pnao.rounds(module):
        fit(pnao, module, *callbacks, **options)
    return module


def same(a: L.LightningModule, b: L.LightningModule) -> bool:
    """Whether two modules have the same weights, bit for bit."""
    x, y = a.state_dict(), b.state_dict()
    return x.keys() == y.keys() and all(x[k].equal(y[k]) for k in x)
