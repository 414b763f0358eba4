"""A user's own parts: a fusion, a criterion, an optimizer, a weighting and a reader."""

from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor

from mer_lightning.config.groups import DataConfig
from mer_lightning.data.corpus import Corpus, Utterance
from mer_lightning.plugins import criterion, fusion, optimizer, reader, weighting
from mer_lightning.pnao import Nodes

__version__ = "1.2"


@fusion("sharp")
class Sharp(torch.nn.Module):
    """Weights by the power of each branch's highest posterior."""

    def __init__(self, widths: list[int], power: float = 2.0) -> None:
        super().__init__()
        self.power = power

    def forward(self, log_posteriors: Tensor, gathered: list[Tensor]) -> Tensor:
        return torch.softmax(self.power * log_posteriors.amax(dim=-1), dim=-1)


@criterion("taylor")
def taylor(
    module: L.LightningModule, nodes: Nodes, trainer: L.Trainer, batches: int = 2
) -> dict[str, Tensor]:
    """|weight * gradient|, summed over a node's row."""
    module.zero_grad()
    for _, batch in zip(range(batches), trainer.train_dataloader, strict=False):
        module.training_step(batch, 0).backward()
    found = {}
    for group, names in nodes.writes.items():
        weights = [module.get_submodule(name).weight for name in names]
        found[group] = sum((w * w.grad).abs().sum(dim=1).detach() for w in weights) / len(weights)
    module.zero_grad()
    return found


@optimizer("sgd")
def sgd(groups: list[dict[str, Any]], lr: float, momentum: float = 0.9) -> torch.optim.Optimizer:
    return torch.optim.SGD(groups, lr=lr, momentum=momentum)


@weighting("tilted")
def tilted(losses: Tensor, log_d: Tensor, tilt: float = 0.3) -> Tensor:
    return losses * losses.new_tensor([1 - tilt, tilt])


@reader("noise")
def noise(config: DataConfig, width: int = 4) -> Corpus:
    rng, names = np.random.default_rng(0), (*config.levels, *config.shared)
    told = [Utterance(f"u{i}", "ab"[i % 2], float(i % 3), "test" if i > 39 else "train") for i in range(48)]
    features = {n: rng.normal(size=(48, width)).astype(np.float32) for n in names}
    return Corpus("noise", tuple(told), features, tuple(config.levels), tuple(config.shared), ("a", "b"))
