"""Two other ways to train the same network: a plain loop, and the way of the public baseline."""

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import f1_score
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from experiments.bench.setting import CPU
from mer_lightning.data.datamodule import Batch, FoldData
from mer_lightning.losses import add_l1_subgradient
from mer_lightning.metrics import score
from mer_lightning.network.base import Decision, prunable_weights
from mer_lightning.network.dropout import Dropout
from mer_lightning.network.module import EmotionModule, task_losses

TEST_SETS = (411, 412, 834)  # utterances of MER 2023's MULTI, NOISE and SEMI
BOTH = torch.ones(2, dtype=torch.bool)  # every batch of the synthetic data has both labels


class PlainLoop:
    """As little as does the same: resident tensors, fused optimiser, L1 step, best weights kept in memory."""

    def __init__(self, module: EmotionModule, data: FoldData) -> None:
        self.network, self.weighting, self.loss = module.network, module.weighting, module.loss
        self.batch_size = data.batch_size
        self.rows = torch.from_numpy(data.train_rows)
        everything = torch.arange(len(data.corpus.utterances))
        self.table: Batch = data.table(CPU)[everything]
        self.stopping: Batch = data.table(CPU)[torch.from_numpy(data.stopping_rows)]
        self.weights = prunable_weights(self.network)
        parameters = [*self.network.parameters(), *self.weighting.parameters()]
        settings = module.settings
        self.optimiser = torch.optim.AdamW(
            parameters, settings.learning_rate, weight_decay=settings.weight_decay, fused=True
        )
        self.best, self.kept = -np.inf, dict[str, Tensor]()

    def epoch(self) -> None:
        """Train on every batch, validate, keep the weights if they are better."""
        self.network.train()
        for rows in torch.split(self.rows[torch.randperm(len(self.rows))], self.batch_size):
            features = {name: x.index_select(0, rows) for name, x in self.table.features.items()}
            batch = Batch(features, self.table.emotion[rows], self.table.valence[rows])
            loss = self.weighting(*task_losses(self.network(features), batch, self.loss), BOTH)
            self.optimiser.zero_grad()
            loss.backward()
            add_l1_subgradient(self.weights, self.loss.alpha)
            self.optimiser.step()
        self.network.eval()
        with torch.no_grad():
            decision = self.network(self.stopping.features)
        reached = score(
            decision.log_posterior, decision.valence, self.stopping.emotion, self.stopping.valence
        )
        if reached.monitored > self.best:
            self.best = reached.monitored
            self.kept = {name: x.clone() for name, x in self.network.state_dict().items()}


class PerUtterance(Dataset[dict[str, Any]]):
    """An array for each utterance and feature set, made into batches item by item."""

    def __init__(self, data: FoldData, rows: NDArray[np.int64]) -> None:
        whole: Batch = data.table(CPU)[torch.from_numpy(rows)]
        self.features = [
            {name: x[i].numpy().copy() for name, x in whole.features.items()} for i in range(len(rows))
        ]
        self.emotion, self.valence = whole.emotion.numpy(), whole.valence.numpy()

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, i: int) -> dict[str, Any]:
        return {"features": self.features[i], "emotion": self.emotion[i], "valence": self.valence[i]}

    @staticmethod
    def collate(items: Sequence[dict[str, Any]]) -> Batch:
        """A batch from items."""
        names = items[0]["features"]
        features = {
            name: torch.FloatTensor(np.array([item["features"][name] for item in items])) for name in names
        }
        emotion = torch.LongTensor([int(item["emotion"]) for item in items])
        valence = torch.FloatTensor([float(item["valence"]) for item in items])
        return Batch(features, emotion, valence)


class PeerLoop:
    """As the public baseline trains: DataLoader, torch's dropout and Adam, L1 in the graph, tests each epoch.

    Written after its published code, for comparison: batches are made from per-utterance arrays in the main
    process, and the validation and test sets are predicted after every epoch, batch by batch, into numpy.
    The synthetic data have one test set; its utterances are repeated to the sizes of MER 2023's three.
    """

    def __init__(self, module: EmotionModule, data: FoldData) -> None:
        self.network = with_torch_dropout(copy.deepcopy(module.network))
        self.weighting, self.loss = copy.deepcopy(module.weighting), module.loss
        self.weights = prunable_weights(self.network)
        parameters = [*self.network.parameters(), *self.weighting.parameters()]
        self.optimiser = torch.optim.Adam(parameters, lr=module.settings.learning_rate)
        tests = [np.resize(data.test_rows, size) for size in TEST_SETS]
        self.train, *self.evaluated = [
            DataLoader(
                PerUtterance(data, rows), data.batch_size, shuffle=not i, collate_fn=PerUtterance.collate
            )
            for i, rows in enumerate((data.train_rows, data.stopping_rows, *tests))
        ]

    def epoch(self) -> None:
        """Train on every batch, then predict and score the validation and the test sets."""
        self.network.train()
        for batch in self.train:
            self.optimiser.zero_grad()
            loss = self.weighting(*task_losses(self.network(batch.features), batch, self.loss), BOTH)
            loss = loss + self.loss.alpha * sum(w.abs().sum() for w in self.weights)
            loss.backward()
            self.optimiser.step()
        self.network.eval()
        for loader in self.evaluated:
            emotion, found, error = (np.concatenate(x) for x in zip(*self._predicted(loader), strict=True))
            f1_score(emotion, found.argmax(axis=1), average="weighted")
            np.nanmean(np.square(error))

    @torch.no_grad()
    def _predicted(self, loader: DataLoader[dict[str, Any]]) -> Iterator[tuple[NDArray[Any], ...]]:
        for batch in loader:
            decision: Decision = self.network(batch.features)
            error = decision.valence - batch.valence
            yield batch.emotion.numpy(), decision.log_posterior.numpy(), error.numpy()


def with_torch_dropout(network: nn.Module) -> nn.Module:
    """The network with torch's own dropout instead of ours."""
    for module in network.modules():
        for name, child in module.named_children():
            if isinstance(child, Dropout):
                setattr(module, name, nn.Dropout(child.p))
    return network
