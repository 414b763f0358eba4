"""A task that is not emotion: scikit-learn's 1,797 digits of 8 x 8 pixels, an MLP and a small CNN."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, max_pool2d, relu
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, TensorDataset, random_split

from mer_lightning.pnao import Nodes, chain

SPLIT = (900, 297, 600)  # training, validation, test


class MLP(nn.Sequential):
    """64 - 256 - 128 - 10."""

    def __init__(self) -> None:
        hidden = nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU()
        super().__init__(*hidden, nn.Linear(128, 10))

    def node_groups(self) -> Nodes:
        """The nodes between the linear layers."""
        return chain("0", "2", "4")


class CNN(nn.Module):
    """A stem and a residual block with BatchNorm, one more convolution, a hidden layer, the classes."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.stem_norm = nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.inner, self.inner_norm = nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.outer, self.outer_norm = nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.top, self.top_norm = nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32)
        self.hidden, self.head = nn.Linear(128, 64), nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 64) -> (B, 10)."""
        x = relu(self.stem_norm(self.stem(x.view(-1, 1, 8, 8))))
        x = x + relu(self.outer_norm(self.outer(relu(self.inner_norm(self.inner(x))))))
        x = max_pool2d(relu(self.top_norm(self.top(max_pool2d(x, 2)))), 2)
        return self.head(relu(self.hidden(x.flatten(1))))

    def node_groups(self) -> Nodes:
        """Channels and hidden nodes; the stem's and the block's are summed, so they are the same."""
        writes = {
            "trunk": ("stem", "stem_norm", "outer", "outer_norm"),
            "inner": ("inner", "inner_norm"),
            "top": ("top", "top_norm"),
            "hidden": ("hidden",),
        }
        reads = {
            "inner": ("trunk",),
            "outer": ("inner",),
            "top": ("trunk",),
            "hidden": (("top", 4),),  # 2 x 2 pixels of each channel
            "head": ("hidden",),
        }
        return Nodes(writes, reads)


class Classifier(L.LightningModule):
    """Learns with Adam and a cosine schedule over a fit, or over each ``period`` epochs of it."""

    def __init__(self, net: MLP | CNN, period: int | None) -> None:
        super().__init__()
        self.net, self.period = net, period

    def node_groups(self) -> Nodes:
        """Those of the network."""
        return self.net.node_groups().under("net")

    def forward(self, x: Tensor) -> Tensor:
        """(B, 64) -> (B, 10)."""
        return self.net(x)

    def training_step(self, batch: list[Tensor], _: int) -> Tensor:
        """The loss of a batch."""
        return cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: list[Tensor], _: int) -> None:
        """Log the loss."""
        self.log("val_loss", cross_entropy(self(batch[0]), batch[1]))

    def configure_optimizers(self) -> Any:
        """The same for every method."""
        optimizer = torch.optim.Adam(self.parameters(), lr=5e-3, fused=True)
        period = self.period or self.trainer.max_epochs or 1
        return [optimizer], [torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, period)]


@dataclass
class Task:
    """One network on one split. Every method gets ``epochs * (rounds + 1)`` epochs."""

    network: type[MLP] | type[CNN]
    seed: int
    keep: float
    epochs: int
    rounds: int

    @property
    def total(self) -> int:
        """Epochs in all."""
        return self.epochs * (self.rounds + 1)

    @cached_property
    def parts(self) -> list[TensorDataset]:
        """Training, validation, test: pixels (N, 64) from 0 to 1 and labels (N,)."""
        x, y = load_digits(return_X_y=True)
        data = TensorDataset(torch.tensor(x / 16, dtype=torch.float32), torch.tensor(y))
        parts = random_split(data, SPLIT, torch.Generator().manual_seed(self.seed))
        return [TensorDataset(*data[list(part.indices)]) for part in parts]

    def module(self, period: int | None = None) -> Classifier:
        """The same fresh network for every method."""
        L.seed_everything(self.seed, verbose=False)
        return Classifier(self.network(), period)

    def fit(self, module: Classifier, epochs: int, *callbacks: L.Callback) -> None:
        """A quiet fit on the CPU, 64 rows a batch."""
        training, validation, _ = self.parts
        rows = BatchSampler(RandomSampler(training), 64, drop_last=False)
        L.Trainer(
            max_epochs=epochs,
            callbacks=list(callbacks),
            accelerator="cpu",
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=any(isinstance(c, ModelCheckpoint) for c in callbacks),
        ).fit(
            module,
            DataLoader(training, sampler=rows, batch_size=None),
            DataLoader(validation, len(validation)),
        )

    @torch.no_grad()
    def accuracy(self, module: nn.Module) -> float:
        """On the test part."""
        x, y = self.parts[2][:]
        return float((module.eval()(x).argmax(dim=1) == y).float().mean())
