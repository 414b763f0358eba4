"""A criterion of a user's own: first-order Taylor expansion of the loss (Molchanov et al. 2019)."""

import lightning as L
import torch
from torch import Tensor

from mer_lightning.pnao import Nodes


def taylor(module: L.LightningModule, nodes: Nodes, trainer: L.Trainer) -> dict[str, Tensor]:
    """Node j's importance: the sum over its weights of |weight * gradient|, over all training batches."""
    module.zero_grad()
    for index, batch in enumerate(trainer.train_dataloader):
        batch = trainer.strategy.batch_to_device(trainer.precision_plugin.convert_input(batch))
        loss = module.training_step(batch, index)
        (loss["loss"] if isinstance(loss, dict) else loss).backward()
    importances = {}
    for group, layers in nodes.writes.items():
        weights = [module.get_parameter(f"{layer}.weight") for layer in layers]
        terms = [
            (w * w.grad).abs().flatten(1).sum(dim=1) for w in weights if w.grad is not None and w.ndim > 1
        ]
        importances[group] = torch.stack(terms).sum(dim=0).detach()
    module.zero_grad()
    return importances
