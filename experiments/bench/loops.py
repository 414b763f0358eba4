"""Another way to train the same network: a plain loop, each part as ours or as the public baseline's."""

import copy
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import f1_score
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from experiments.bench.setting import CPU
from mer_lightning.config.schema import Config
from mer_lightning.data.datamodule import Batch, FoldData
from mer_lightning.model.base import Decision
from mer_lightning.model.dropout import Dropout
from mer_lightning.model.losses import task_losses
from mer_lightning.model.metrics import score, selection
from mer_lightning.model.module import EmotionModule
from mer_lightning.pnao.early_stop import overwrite
from mer_lightning.pnao.importance import weights_of
from mer_lightning.pnao.optimizers import add_l1_subgradient

TEST_SETS = (411, 412, 834)  # utterances of MER 2023's MULTI, NOISE and SEMI
BOTH = torch.ones(2, dtype=torch.bool)  # every batch of the synthetic data has both labels


@dataclass(frozen=True)
class Way:
    """What a loop does as the public baseline's published code does it; by default nothing.

    loading: batches are made from an array for each utterance and set, by a DataLoader with a collate
    function, instead of taken from resident tensors. dropout: torch's instead of ours. optimiser: Adam that
    is not fused instead of fused AdamW. sparse_term: in the graph instead of added to the gradients.
    testing: after every epoch the validation set and the test sets are predicted, batch by batch and into
    numpy, instead of the validation set alone and whole. The synthetic data have one test set; its
    utterances are repeated to the sizes of MER 2023's three.
    """

    loading: bool = False
    dropout: bool = False
    optimiser: bool = False
    sparse_term: bool = False
    testing: bool = False


PLAIN = Way()
PEER = Way(loading=True, dropout=True, optimiser=True, sparse_term=True, testing=True)


class Loop:
    """Trains a copy of a module's network; the best weights are kept in memory, as ours are."""

    def __init__(self, config: Config, module: EmotionModule, data: FoldData, way: Way = PLAIN) -> None:
        self.way, self.loss = way, config.loss
        self.network, self.weighting = copy.deepcopy(module.network), copy.deepcopy(module.weighting)
        if way.dropout:
            with_torch_dropout(self.network)
        groups = weights_of(self.network, self.network.node_groups()).values()
        self.weights = [weight for weights in groups for weight in weights]
        self.optimiser = self._optimiser(config.trainer.learning_rate, config.trainer.weight_decay)
        make = per_utterance if way.loading else Resident
        self.train: Iterable[Batch] = make(data, data.train_rows, True)
        self.stopping: Batch = data.table(CPU)[torch.from_numpy(data.stopping_rows)]
        tests = [np.resize(data.test_rows, size) for size in TEST_SETS]
        self.tests = [make(data, rows, False) for rows in (data.stopping_rows, *tests)] if way.testing else []
        self.best, self.kept = -np.inf, dict[str, Tensor]()

    def _optimiser(self, learning_rate: float, weight_decay: float) -> torch.optim.Optimizer:
        parameters = [*self.network.parameters(), *self.weighting.parameters()]
        if self.way.optimiser:
            return torch.optim.Adam(parameters, learning_rate, weight_decay=weight_decay)
        return torch.optim.AdamW(parameters, learning_rate, weight_decay=weight_decay, fused=True)

    def epoch(self) -> None:
        """Train on every batch, then predict and score."""
        self.network.train()
        for batch in self.train:
            self.step(batch)
        self.network.eval()
        if self.way.testing:
            self._test()
        else:
            self.keep_best()

    def step(self, batch: Batch) -> None:
        """One optimiser step."""
        loss = self.weighting(
            *task_losses(self.network(batch.features), batch, self.loss.supervision, self.loss.auxiliary),
            BOTH,
        )
        if self.way.sparse_term:
            loss = loss + self.loss.alpha * sum(w.abs().sum() for w in self.weights)
        self.optimiser.zero_grad()
        loss.backward()
        if not self.way.sparse_term:
            add_l1_subgradient(self.weights, self.loss.alpha)
        self.optimiser.step()

    @torch.no_grad()
    def keep_best(self) -> None:
        """Score the validation set; keep the weights if they are better."""
        decision, labels = self.network(self.stopping.features), self.stopping
        reached = score(decision.log_posterior, decision.valence, labels.emotion, labels.valence)
        if (found := selection(reached, variance=1.0)) > self.best:
            self.best = found
            overwrite(self.kept, self.network.state_dict())

    def _test(self) -> None:
        """Score the validation set and the test sets in numpy."""
        for batches in self.tests:
            emotion, found, error = (np.concatenate(x) for x in zip(*self._predicted(batches), strict=True))
            f1_score(emotion, found.argmax(axis=1), average="weighted")
            np.square(error[np.isfinite(error)]).sum()

    @torch.no_grad()
    def _predicted(self, batches: Iterable[Batch]) -> Iterator[tuple[NDArray[Any], ...]]:
        for batch in batches:
            decision: Decision = self.network(batch.features)
            error = decision.valence - batch.valence
            yield batch.emotion.numpy(), decision.log_posterior.numpy(), error.numpy()


class Resident:
    """Batches of rows of tensors that stay in memory."""

    def __init__(self, data: FoldData, rows: NDArray[np.int64], shuffle: bool) -> None:
        self.table: Batch = data.table(CPU)[torch.arange(len(data.corpus.utterances))]
        self.rows, self.batch_size, self.shuffle = torch.from_numpy(rows), data.batch_size, shuffle

    def __iter__(self) -> Iterator[Batch]:
        order = self.rows[torch.randperm(len(self.rows))] if self.shuffle else self.rows
        for rows in torch.split(order, self.batch_size):
            features = {name: x.index_select(0, rows) for name, x in self.table.features.items()}
            yield Batch(features, self.table.emotion[rows], self.table.valence[rows])


def per_utterance(data: FoldData, rows: NDArray[np.int64], shuffle: bool) -> DataLoader[dict[str, Any]]:
    """The same batches made item by item, in the main process."""
    items = PerUtterance(data, rows)
    return DataLoader(items, data.batch_size, shuffle=shuffle, collate_fn=PerUtterance.collate)


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


def with_torch_dropout(network: nn.Module) -> nn.Module:
    """The network with torch's own dropout instead of ours."""
    for module in network.modules():
        for name, child in module.named_children():
            if isinstance(child, Dropout):
                setattr(module, name, nn.Dropout(child.p))
    return network
