"""The batches of one fold: features resident on the device, or read from a memory map, a load at a time."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, cast

import lightning as L
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mer_lightning.data.corpus import NO_FOLD, TRAIN_SPLITS, UNLABELLED, Corpus
from mer_lightning.data.folds import fold_parts
from mer_lightning.data.memmap import gather
from mer_lightning.data.shuffling import shuffled_loads
from mer_lightning.data.standardise import Standardisation, fit_standardisation, fit_valence_scale

EVALUATION_BATCH = 4096


class Batch(NamedTuple):
    """B utterances: features (B, D) by name, emotion (B,) or -1, valence (B,) or NaN; all standardised."""

    features: dict[str, Tensor]
    emotion: Tensor
    valence: Tensor


class FeatureTable:
    """All utterances of a corpus, standardised: ``table[rows]`` is a Batch.

    Feature sets in memory are standardised once and kept on the device; memory-mapped ones are read
    when asked for, and standardised batch by batch.
    """

    def __init__(
        self,
        corpus: Corpus,
        emotion: NDArray[np.int64],
        valence: NDArray[np.float32],
        standardisation: Standardisation,
        device: torch.device,
    ) -> None:
        self.device = device
        self.standardisation = standardisation.to(device)
        self.emotion = torch.from_numpy(emotion).to(device)
        self.valence = torch.from_numpy(valence).to(device)
        self.mapped = {k: v for k, v in corpus.features.items() if isinstance(v, np.memmap)}
        self.row_bytes = sum(v.shape[1] * v.itemsize for v in self.mapped.values())
        self.resident: dict[str, Tensor] = {}
        for name, array in corpus.features.items():
            if name not in self.mapped:
                raw = {name: torch.from_numpy(np.ascontiguousarray(array)).to(device)}
                self.resident |= self.standardisation(raw)

    def __getitem__(self, rows: Tensor) -> Batch:
        return next(self.batches([rows]))

    def batches(self, parts: Sequence[Tensor]) -> Iterator[Batch]:
        """A Batch for each of the parts, (n,) rows each; what is mapped is read for all of them at once."""
        read = self._read(torch.cat(tuple(parts))) if self.mapped else {}
        start = 0
        for rows in parts:
            features = {name: table.index_select(0, rows) for name, table in self.resident.items()}
            here = slice(start, start := start + len(rows))
            features |= self.standardisation({k: v[here].to(self.device) for k, v in read.items()})
            yield Batch(features, self.emotion[rows], self.valence[rows])

    def _read(self, rows: Tensor) -> dict[str, Tensor]:
        """The mapped sets' rows as they are in the file, in memory."""
        index = rows.cpu().numpy()
        return {name: torch.from_numpy(gather(array, index)) for name, array in self.mapped.items()}


class BatchLoader:
    """Iterates over the given rows of a table, a batch at a time; no per-item work.

    Every rank takes its own share of each batch, so that ``ranks`` processes together see the batches
    that one process would. With a ``seed`` the rows are shuffled in each epoch; without, every
    row comes exactly once, in order. With a seed and ``weights`` (n,) as many rows are drawn by them, with
    replacement. Of memory-mapped sets, a load of many batches is read at once when shuffling (see
    ``blocks``), else a batch.
    """

    def __init__(
        self,
        table: FeatureTable,
        rows: NDArray[np.int64],
        batch_size: int,
        seed: int | None = None,
        rank: int = 0,
        ranks: int = 1,
        weights: Tensor | None = None,
    ) -> None:
        self.table = table
        self.rows = torch.from_numpy(rows).to(table.device)
        self.batch_size = batch_size
        self.rank, self.ranks = rank, ranks
        self.weights = weights
        self.generator = None if seed is None else torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return -(-len(self.rows) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        size = self.batch_size
        if self.generator is None:
            loads: Sequence[Tensor] = torch.split(self.rows, size)
        else:
            loads = shuffled_loads(self._drawn(), size, self.table.row_bytes, self.generator)
        for load in loads:
            yield from self.table.batches([b[self.rank :: self.ranks] for b in torch.split(load, size)])

    def _drawn(self) -> Tensor:
        """The rows of an epoch."""
        if self.weights is None:
            return self.rows
        drawn = torch.multinomial(self.weights, len(self.rows), replacement=True, generator=self.generator)
        return self.rows[drawn.to(self.rows.device)]


class FoldData(L.LightningDataModule):
    """The parts of one fold of a corpus, after ``fold_parts``.

    Args:
        folds: (n,) fold of each utterance of Train&Val, in the corpus's order.
        clip: deviations from the mean at which features are clipped; None: they are not.
        balanced: every emotion comes equally often in an epoch; utterances without one as often as they are.
    """

    def __init__(
        self,
        corpus: Corpus,
        folds: NDArray[np.int64],
        fold: int,
        protocol: str,
        batch_size: int,
        seed: int = 0,
        clip: float | None = None,
        balanced: bool = False,
    ) -> None:
        super().__init__()
        self.corpus = corpus
        self.batch_size = batch_size
        self.seed, self.balanced = seed, balanced
        labelled = corpus.rows(TRAIN_SPLITS)
        parts = fold_parts(folds, fold, protocol)
        self.train_rows = labelled[parts.train]
        self.stopping_rows = labelled[parts.stopping]
        self.held_out_rows = labelled[parts.held_out]
        everyone = np.arange(len(corpus.utterances))
        self.test_rows = corpus.rows(corpus.tests)
        self.unlabelled_rows = corpus.rows([UNLABELLED])
        # test sets, unlabelled; fixed: train
        self.never_held_out = np.setdiff1d(everyone, labelled[folds != NO_FOLD])
        self.standardisation = fit_standardisation(corpus.features, self.train_rows, clip)
        valence = corpus.valences
        self.valence_scale = fit_valence_scale(valence[self.train_rows])
        self.emotion, self.valence = corpus.emotions, self.valence_scale(valence)
        self._table: FeatureTable | None = None

    @property
    def test_sets(self) -> dict[str, NDArray[np.int64]]:
        """Test set -> its rows; where there is none, the fold that is held out."""
        return {name: self.corpus.rows([name]) for name in self.corpus.tests} or {
            "held_out": self.held_out_rows
        }

    @property
    def class_weights(self) -> Tensor:
        """(C,) how much rarer each emotion is in training than the most frequent; 0: not there.

        ``balanced`` batches make all that are there equally frequent.
        """
        return (self._rarity > 0).float() if self.balanced else self._rarity

    @property
    def _rarity(self) -> Tensor:
        """(C,) the same among the utterances of the training part."""
        counts = np.bincount(self.emotion[self.train_rows] + 1, minlength=len(self.corpus.classes) + 1)[1:]
        return torch.from_numpy(np.where(counts > 0, counts.max() / np.maximum(counts, 1), 0.0)).float()

    def learn_from(self, rows: NDArray[np.int64], emotion: NDArray[np.int64]) -> None:
        """Add utterances to the training part, with labels (n,) that are guesses; no valence."""
        self.train_rows = np.concatenate([self.train_rows, rows])
        self.emotion[rows], self.valence[rows] = emotion, np.nan
        self._table = None

    def table(self, device: torch.device) -> FeatureTable:
        """The standardised corpus on ``device``, made once."""
        if self._table is None or self._table.device != device:
            labels = self.emotion, self.valence
            self._table = FeatureTable(self.corpus, *labels, self.standardisation, device)
        return self._table

    def _loader(
        self,
        rows: NDArray[np.int64],
        batch_size: int,
        seed: int | None = None,
        weights: Tensor | None = None,
    ) -> BatchLoader:
        trainer = self.trainer
        assert trainer is not None, "loaders are made by a Trainer's fit"  # noqa: S101
        table = self.table(trainer.strategy.root_device)
        return BatchLoader(table, rows, batch_size, seed, trainer.global_rank, trainer.world_size, weights)

    def train_dataloader(self) -> BatchLoader:
        """Shuffled batches of the training part."""
        weights = self._sampling_weights() if self.balanced else None
        return self._loader(self.train_rows, self.batch_size, self.seed, weights)

    def _sampling_weights(self) -> Tensor:
        """(n,) of the training part: all emotions alike, unknown ones as often as they are."""
        emotion = torch.from_numpy(self.emotion[self.train_rows])
        weights = torch.where(emotion >= 0, self._rarity[emotion.clamp_min(0)], 0.0)
        known = emotion >= 0
        weights *= known.sum() / weights.sum()
        return torch.where(known, weights, 1.0)

    def val_dataloader(self) -> BatchLoader:
        """The part that stops training, whole."""
        return self._loader(self.stopping_rows, EVALUATION_BATCH)

    def test_dataloader(self) -> list[BatchLoader]:
        """Each test set, in the order of ``test_sets``."""
        return [self._loader(rows, EVALUATION_BATCH) for rows in self.test_sets.values()]

    def predict_dataloader(self) -> BatchLoader:
        """All utterances, in the corpus's order."""
        return self._loader(np.arange(len(self.corpus.utterances)), EVALUATION_BATCH)

    def transfer_batch_to_device(self, batch: object, device: torch.device, dataloader_idx: int) -> Batch:
        """Nothing to move: the table is on the device already."""
        return cast(Batch, batch)
