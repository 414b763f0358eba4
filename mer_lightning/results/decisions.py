"""Decisions on a corpus: of one fold's network, of the mean over folds, of several systems together."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from mer_lightning.data.corpus import Corpus
from mer_lightning.errors import UserError
from mer_lightning.files.recorded import Scores
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.model.checkpoint import read_network
from mer_lightning.model.metrics import score
from mer_lightning.results.predictor import average_posteriors
from mer_lightning.training.outcome import Predictions, read_predictions


@dataclass(frozen=True)
class Fused:
    """Decisions for R utterances of a corpus."""

    rows: Tensor  # (R,) indices into the corpus
    posterior: Tensor  # (R, C)
    valence: Tensor  # (R,)
    weights: Tensor  # (R, M), of the voices

    def scores(self, corpus: Corpus) -> Scores:
        """Against the corpus's labels."""
        self.check(corpus)
        emotion = torch.from_numpy(corpus.emotions)[self.rows]
        return score(self.posterior, self.valence, emotion, torch.from_numpy(corpus.valences)[self.rows])

    def check(self, corpus: Corpus) -> None:
        """A UserError where they are not about this corpus, as those of a damaged file may be."""
        if len(self.rows) and int(self.rows.max()) >= len(corpus.utterances):
            raise UserError(
                f"a round's predictions are about utterance {int(self.rows.max())}, and {corpus.name} has "
                f"{len(corpus.utterances)}: damaged; delete its folds, and the same command trains them "
                "again"
            )


@dataclass(frozen=True)
class Decided:
    """A system's decisions: out of fold on Train&Val, a part per fold, and on the test sets."""

    voices: tuple[str, ...]  # names of the M branches
    held_out: list[Fused]
    test: Fused


class Shares(NamedTuple):
    """How much each of K systems counts: (K,) for posteriors, (K,) for valences; each sums to 1."""

    posterior: Tensor
    valence: Tensor


def fused(part: Predictions) -> Fused:
    """One network's predictions as they are."""
    return Fused(part.rows, part.log_posterior.exp(), part.valence, part.weights)


def mean_over_folds(parts: Sequence[Predictions], ensemble: str) -> Fused:
    """The mean of the folds' predictions for the same utterances."""
    equal = torch.full((len(parts),), 1 / len(parts))
    log_posteriors = torch.stack([p.log_posterior for p in parts])
    return Fused(
        parts[0].rows,
        average_posteriors(log_posteriors, equal, ensemble),
        torch.stack([p.valence for p in parts]).mean(dim=0),
        torch.stack([p.weights for p in parts]).mean(dim=0),
    )


def decide(run: RunDirectory, number: int, folds: int, ensemble: str) -> Decided:
    """What a run's round ``number`` decides."""
    rounds = [run.round(fold, number) for fold in range(folds)]
    return Decided(
        voices=read_network(rounds[0].network).network.voices,
        held_out=[fused(read_predictions(r, "held_out")) for r in rounds],
        test=mean_over_folds([read_predictions(r, "test") for r in rounds], ensemble),
    )


def joined(parts: Sequence[Fused]) -> Fused:
    """Parts of a corpus, one after the other."""
    return Fused(*(torch.cat(tensors) for tensors in zip(*(vars(p).values() for p in parts), strict=True)))


def by_split(part: Fused, corpus: Corpus) -> dict[str, Fused]:
    """Split -> its share of the decisions."""
    part.check(corpus)
    splits = [corpus.utterances[row].split for row in part.rows.tolist()]
    parts = {}
    for split in sorted(set(splits)):
        here = torch.tensor([s == split for s in splits])
        parts[split] = Fused(*(tensor[here] for tensor in vars(part).values()))
    return parts


def mixed(parts: Sequence[Fused], shares: Shares, systems: Sequence[tuple[str, ...]], ensemble: str) -> Fused:
    """One decision from those of K systems on the same utterances.

    Args:
        systems: the voices of each system; a voice's weight is the sum over the systems that have it.
    """
    voices = tuple(dict.fromkeys(v for names in systems for v in names))
    log_posteriors = torch.stack([p.posterior for p in parts]).clamp_min(1e-38).log()
    weights = torch.zeros(len(parts[0].rows), len(voices))
    for part, share, names in zip(parts, shares.posterior, systems, strict=True):
        weights[:, [voices.index(v) for v in names]] += share * part.weights
    return Fused(
        parts[0].rows,
        average_posteriors(log_posteriors, shares.posterior, ensemble),
        torch.einsum("k,kb->b", shares.valence, torch.stack([p.valence for p in parts])),
        weights,
    )
