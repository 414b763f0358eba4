"""Decisions of several networks as one, and decisions on rows of a corpus with their one file format."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save
from torch import Tensor

from mer_lightning.data.corpus import Corpus
from mer_lightning.errors import reading
from mer_lightning.files.atomic import write_bytes
from mer_lightning.files.recorded import Scores
from mer_lightning.model.base import Decision
from mer_lightning.model.metrics import score


class EnsembleWeights(NamedTuple):
    """How much each of K members counts, in (K,) posteriors and (K,) valences; of any positive sum."""

    posterior: Tensor
    valence: Tensor


class RowDecisions(NamedTuple):
    """Decisions on R utterances of a corpus."""

    rows: Tensor  # (R,) indices into the corpus
    decision: Decision

    def among(self, rows: NDArray[np.int64]) -> "RowDecisions":
        """Those on some of the corpus's rows."""
        chosen = torch.isin(self.rows, torch.from_numpy(rows))
        return RowDecisions(self.rows[chosen], self.decision.select(chosen))

    def scores(self, corpus: Corpus) -> Scores:
        """Against the corpus's labels."""
        emotion, valence = torch.from_numpy(corpus.emotions), torch.from_numpy(corpus.valences)
        return score(self.decision.posterior, self.decision.valence, emotion[self.rows], valence[self.rows])


def concatenated(parts: Sequence[RowDecisions]) -> RowDecisions:
    """Decisions on several parts of a corpus, one after the other."""
    decisions = zip(*(part.decision for part in parts), strict=True)
    return RowDecisions(
        torch.cat([part.rows for part in parts]), Decision(*(torch.cat(tensors) for tensors in decisions))
    )


def in_order(parts: Sequence[RowDecisions]) -> Decision:
    """The decisions of parts that have every utterance of a corpus once, in the corpus's order."""
    whole = concatenated(parts)
    return whole.decision.select(whole.rows.argsort())


def weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    """(K, ...) and (K,) -> (...)."""
    return (weights.view(-1, *[1] * (values.ndim - 1)) * values).sum(dim=0) / weights.sum()


def average_posteriors(log_posteriors: Tensor, weights: Tensor, ensemble: str) -> Tensor:
    """The log-posterior of an ensemble of K members, (..., C).

    Args:
        log_posteriors: (K, ..., C).
        weights: (K,), of any positive sum.
        ensemble: ``posterior``: the weighted mean of the posteriors; ``logit``: the softmax of that of the
            logits, which for softmax outputs is the softmax of that of the log-posteriors.
    """
    if ensemble == "logit":
        return torch.log_softmax(weighted_mean(log_posteriors, weights), dim=-1)
    log_weights = (weights / weights.sum()).log().view(-1, *[1] * (log_posteriors.ndim - 1))
    return torch.logsumexp(log_posteriors + log_weights, dim=0)


def union(branch_names: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """The names of all members' branches, each once."""
    return tuple(dict.fromkeys(name for own in branch_names for name in own))


def ensemble_decision(
    members: Sequence[Decision],
    weights: EnsembleWeights,
    ensemble: str,
    branch_names: Sequence[tuple[str, ...]] = (),
) -> Decision:
    """One decision from those of K members on the same utterances, over the ``union`` of their branches.

    Args:
        members: K decisions on B utterances.
        ensemble: see ``average_posteriors``.
        branch_names: of each member, unless all have the same; a branch has weight 0 in a member without it.
    """
    names = union(branch_names)
    if any(own != names for own in branch_names):
        members = [_aligned(d, own, names) for d, own in zip(members, branch_names, strict=True)]
    each = Decision(*(torch.stack(tensors) for tensors in zip(*members, strict=True)))
    return Decision(
        average_posteriors(each.log_posterior, weights.posterior, ensemble),
        weighted_mean(each.valence, weights.valence),
        weighted_mean(each.weights, weights.posterior),
        average_posteriors(each.branch_log_posteriors, weights.posterior, ensemble),
        weighted_mean(each.branch_valences, weights.valence),
    )


def _aligned(d: Decision, own: tuple[str, ...], names: tuple[str, ...]) -> Decision:
    """The decision with its weights in the columns of ``names``, and without its branches' own decisions."""
    absent = torch.zeros_like(d.valence)
    columns = [d.weights[:, own.index(name)] if name in own else absent for name in names]
    return d._replace(
        weights=torch.stack(columns, dim=1),
        branch_log_posteriors=d.branch_log_posteriors[:, :0],
        branch_valences=d.branch_valences[:, :0],
    )


def write_decisions(path: Path, decisions: RowDecisions) -> None:
    """Write a safetensors file: ``rows``, and the fields of a ``Decision``."""
    write_bytes(path, save({"rows": decisions.rows} | decisions.decision._asdict()))


def read_decisions(path: Path, utterances: int, remedy: str) -> RowDecisions:
    """Read what ``write_decisions`` wrote, about a corpus of so many utterances.

    Raises UserError, which ends in ``remedy``, for a missing, damaged or foreign file.
    """
    with reading(path, remedy):
        tensors = load_file(path)
        found = RowDecisions(tensors.pop("rows"), Decision(**tensors))
        _check(found, utterances)
        return found


def _check(found: RowDecisions, utterances: int) -> None:
    """A ValueError unless the tensors go together and are of the kinds they should be."""
    rows, d = found
    (r,), (_, m), (_, own, c) = rows.shape, d.weights.shape, d.branch_log_posteriors.shape
    shapes = (r, c), (r,), (r, m), (r, own, c), (r, own)
    for name, tensor, shape in zip(Decision._fields, d, shapes, strict=True):
        if tensor.shape != shape or not tensor.is_floating_point() or own not in (0, m):
            raise ValueError(f"{name}: {tensor.dtype} {tuple(tensor.shape)}, expected numbers {shape}")
        if not tensor.isfinite().all():
            raise ValueError(f"{name}: NaN or infinity")
    if rows.dtype != torch.int64 or bool(((rows < 0) | (rows >= utterances)).any()):
        raise ValueError(f"rows: expected indices below {utterances}")
