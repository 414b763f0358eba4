"""Which round a run stands for: chosen on the parts that stop training, never on test parts."""

from collections.abc import Sequence
from typing import Protocol, TypeVar

import numpy as np
import torch

from mer_lightning.data.corpus import Corpus, cluster_keys
from mer_lightning.files.recorded import Results
from mer_lightning.model.decisions import RowDecisions
from mer_lightning.model.metrics import DIM_WEIGHT, MER_VARIANCE, class_scores
from mer_lightning.results.sums import Floats, Sums, cluster_sums, scores

DRAWS = 1000
AT_ONCE = 2**24  # numbers drawn, in memory


class Candidate(Protocol):
    """A round to choose from."""

    @property
    def selection(self) -> float:
        """Its score, the higher the better."""

    @property
    def error(self) -> float:
        """Standard error of that score."""

    @property
    def parameters(self) -> float:
        """Its size."""


C = TypeVar("C", bound=Candidate)


def smallest_within_error(rounds: Sequence[C]) -> C:
    """Breiman's rule: the smallest round whose score is within one standard error of the best.

    Of equals the first is the best; of equally small ones the best is chosen.
    """
    best = max(rounds, key=lambda r: r.selection)
    fine = [r for r in rounds if r.selection >= best.selection - best.error]
    return min(fine, key=lambda r: (r.parameters, -r.selection))


def selection_error(
    stopping: Sequence[RowDecisions], corpus: Corpus, monitor: str = "score", seed: int = 0
) -> float:
    """Standard error of a round's selection score, by the bootstrap over clusters within each fold.

    A cluster is a group (speaker, video), or an utterance where groups are not known. Where a fold has one
    cluster, as when each speaker is left out in turn, the folds' scores tell: ``s / sqrt(F)``.

    Args:
        stopping: each fold's decisions on the part that stops its training.
    """
    generator = np.random.default_rng(seed)
    with_valence = all(np.isfinite(corpus.valences[part.rows]).any() for part in stopping)
    variance = corpus.valence_variance if with_valence else 1.0
    parts = [part_sums(part, corpus) for part in stopping]
    if len(parts) > 1 and min(len(sums.error) for sums in parts) == 1:
        whole = [
            selections(Sums(*(s.sum(axis=0) for s in p)), variance, with_valence, monitor) for p in parts
        ]
        return float(np.nanstd(whole, ddof=1) / np.sqrt(len(parts)))
    drawn = [redrawn(sums, generator) for sums in parts]
    by_fold = [selections(sums, variance, with_valence, monitor) for sums in drawn]
    return float(np.nanstd(np.mean(by_fold, axis=0), ddof=1))


def part_sums(part: RowDecisions, corpus: Corpus) -> Sums:
    """Sums per cluster of decisions on some of the corpus's utterances."""
    rows = part.rows.numpy()
    utterances = [corpus.utterances[row] for row in rows]
    keys = cluster_keys([u.group for u in utterances], [u.id for u in utterances])
    cluster = np.unique(keys, return_inverse=True)[1].astype(np.int64)
    predicted = part.decision.posterior.argmax(dim=-1).numpy()
    return cluster_sums(
        corpus.emotions[rows],
        predicted,
        corpus.valences[rows].astype(np.float64),
        part.decision.valence.numpy().astype(np.float64),
        cluster,
        len(corpus.classes),
    )


def redrawn(sums: Sums, generator: np.random.Generator) -> Sums:
    """Totals over K clusters drawn with replacement from the K, DRAWS times."""
    count = len(sums.error)
    at_once = min(DRAWS, max(1, AT_ONCE // count))
    blocks = []
    for start in range(0, DRAWS, at_once):
        draws = min(at_once, DRAWS - start)
        times = generator.multinomial(count, np.full(count, 1 / count), size=draws).astype(np.float64)
        blocks.append([np.tensordot(times, s, axes=1) for s in sums])
    return Sums(*map(np.concatenate, zip(*blocks, strict=True)))


def selections(sums: Sums, variance: float, with_valence: bool, monitor: str = "score") -> Floats:
    """(...) what rounds with such totals are selected by; see ``metrics.selection``."""
    dis, dim, com = np.moveaxis(scores(*sums), -1, 0)
    score = dis - DIM_WEIGHT * MER_VARIANCE * dim / variance if with_valence else dis
    by_class = {k: v.numpy() for k, v in class_scores(torch.from_numpy(sums.confusion)).items()}
    found: Floats = ({"score": score, "dis": dis, "dim": -dim, "com": com} | by_class)[monitor]
    return found


def reason(results: Results) -> str:
    """Why a finished run stands for its chosen round, in words that follow the round's name."""
    rounds, chosen = results.rounds, results.best
    if len(rounds) == 1:
        return "the only round"
    best = max(rounds, key=lambda r: r.selection)
    if chosen.selection < best.selection - best.selection_error:
        return "the best on validation of the rounds of its size"
    if results.chosen_by == "best" or len({r.parameters for r in rounds}) == 1:
        return "the best on validation"
    error = f"one standard error ({best.selection_error:.4f})"
    if chosen is best:
        return f"the best on validation, and no smaller round comes within {error}"
    return (
        f"the smallest round within {error} of the best on validation, which is round {best.round} "
        f"({best.selection:.4f}; this one {chosen.selection:.4f})"
    )


def saving(results: Results) -> str:
    """What the chosen round saves, in words; "" where nothing was pruned."""
    share = 1 - results.best.parameters_ratio
    return f"{share:.1%} fewer parameters than before pruning" if share >= 0.0005 else ""
