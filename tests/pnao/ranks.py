"""Rounds shared by two processes: what test_ranks.py starts, as a script and in spawned processes."""

import json
import sys
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.strategies import DDPStrategy
from torch.utils.data import DataLoader, DistributedSampler

from mer_lightning.pnao import PNAO, weight_importance
from tests.pnao import conftest  # noqa: F401  (one thread also in processes of their own)
from tests.pnao.nets import Regression, data, trainer

SCORES = ((3.0, 1.0, 2.0), (1.0, 2.0, 3.0))  # of rank 0, whose second epoch is the best; of rank 1


class Ranked(Regression):
    """24 samples in their order, 8 a step, however many ranks share them; each logs a score of its own."""

    def setup(self, stage: str) -> None:
        for (
            parameter
        ) in self.parameters():  # Lightning does so for "spawn" alone; else the ranks share memory
            parameter.data = parameter.data.clone()

    def train_dataloader(self) -> DataLoader[Any]:
        ranks, dataset = self.trainer.world_size, data()
        part = DistributedSampler(dataset, ranks, self.global_rank, shuffle=False)
        return DataLoader(dataset, 8 // ranks, sampler=part)

    def val_dataloader(self) -> DataLoader[Any]:
        return self.train_dataloader()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", SCORES[self.global_rank][self.current_epoch], sync_dist=False)


def module_and_pnao(folder: Path | None) -> tuple[Ranked, PNAO]:
    torch.manual_seed(0)
    rounds: dict[str, Any] = {"rate": 0.6, "rounds": 1, "alpha": 1e-3, "max_share": 0.5, "rewind_epoch": 1}
    return Ranked(), PNAO(**rounds, optimizer="carry", criterion=rank_dependent, dirpath=folder)


def rank_dependent(module: L.LightningModule, nodes: Any, trainer: L.Trainer) -> dict[str, torch.Tensor]:
    """What each rank would say by itself is not the same: rank 0's counts."""
    found = weight_importance(module, nodes)
    return found if trainer.is_global_zero else {group: g.flip(0) for group, g in found.items()}


def one_turn(pnao: PNAO, module: Ranked, ranks: int, **options: Any) -> None:
    trainer(pnao, devices=ranks, use_distributed_sampler=False, **options).fit(module)


def train(folder: Path | None, ranks: int, **options: Any) -> tuple[Ranked, PNAO]:
    module, pnao = module_and_pnao(folder)
    for _ in pnao.rounds(module):
        one_turn(pnao, module, ranks, **options)
    return module, pnao


def spawning(method: Any) -> DDPStrategy:
    return DDPStrategy(start_method=method, process_group_backend="gloo")


def main(out: Path) -> None:
    """With a folder, then without: each rank leaves what it has in the end."""
    for name, folder in (("kept", out / "rounds"), ("memory", None)):
        module, pnao = train(folder, 2, strategy="ddp")
        rank = torch.distributed.get_rank()
        torch.save(module.state_dict(), out / f"{name}_{rank}.pt")
        (out / f"{name}_{rank}.json").write_text(json.dumps(pnao.history))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
