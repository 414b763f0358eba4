"""A trained model at work: ``load`` a run or its ``model`` folder, ``predict`` from features."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mer_lightning.data.corpus import count_missing
from mer_lightning.errors import UserError, reading
from mer_lightning.model.checkpoint import Trained, read_network
from mer_lightning.results.description import (
    FILE,
    REMEDY,
    Extractors,
    Share,
    needed_features,
    read_description,
)


class Prediction(NamedTuple):
    """Predictions for B utterances by M branches over C emotions."""

    emotion: list[str]
    posterior: NDArray[np.float32]  # (B, C)
    valence: NDArray[np.float32]  # (B,)
    weights: NDArray[np.float32]  # (B, M)


class Member(NamedTuple):
    """A network of an ensemble, and its share in the ensemble's decision; shares sum to 1."""

    trained: Trained
    posterior_share: float
    valence_share: float


def average_posteriors(log_posteriors: Tensor, shares: Tensor, ensemble: str) -> Tensor:
    """The posterior of an ensemble of F networks, (B, C).

    Args:
        log_posteriors: (F, B, C).
        shares: (F,), sum 1.
        ensemble: ``posterior``: the weighted mean of the posteriors; ``logit``: the softmax of that of the
            logits, which for softmax outputs is the softmax of that of the log-posteriors.
    """
    if ensemble == "logit":
        return torch.softmax(torch.einsum("f,fbc->bc", shares, log_posteriors), dim=-1)
    return torch.einsum("f,fbc->bc", shares, log_posteriors.exp())


@dataclass(frozen=True)
class Predictor:
    """The networks of a run's chosen round, one per fold (or of several runs); together they decide.

    extractors: feature set -> how the features it was trained on were made; {} where that is not known.
    has_valence: whether its training data had any valence; if not, those it predicts mean nothing.
    """

    classes: tuple[str, ...]
    members: tuple[Member, ...]
    ensemble: str
    extractors: Extractors = field(default_factory=dict)
    has_valence: bool = True

    @property
    def features(self) -> dict[str, int]:
        """Feature set -> dimension, as ``predict`` needs them; the levels first."""
        return needed_features(m.trained.network.architecture for m in self.members)

    @property
    def voices(self) -> tuple[str, ...]:
        """Names of the branches that a prediction's weights are for."""
        return tuple(dict.fromkeys(v for m in self.members for v in m.trained.network.voices))

    @torch.no_grad()
    def predict(self, features: Mapping[str, NDArray[Any]]) -> Prediction:
        """Emotion and valence of B utterances.

        Args:
            features: feature set -> (B, D), raw: the model standardises them itself. A row that is wholly
                NaN is missing: the utterance has no such features. More sets than the model needs do no
                harm.

        Raises:
            UserError: a set is not given, its shape or values are wrong, or so extreme that no decision
                comes of them.
        """
        tensors = self._checked(features)
        decisions = [m.trained.network(m.trained.standardisation(tensors)) for m in self.members]
        log_posteriors = torch.stack([d.log_posterior for d in decisions])
        shares = torch.tensor([m.posterior_share for m in self.members])
        posterior = average_posteriors(log_posteriors, shares, self.ensemble)
        valence_shares = torch.tensor([m.valence_share for m in self.members])
        valence = torch.einsum("f,fb->b", valence_shares, torch.stack([d.valence for d in decisions]))
        refuse_no_numbers(posterior, valence)
        weights = torch.zeros(len(posterior), len(self.voices))
        for member, decision in zip(self.members, decisions, strict=True):
            columns = [self.voices.index(v) for v in member.trained.network.voices]
            weights[:, columns] += member.posterior_share * decision.weights
        return Prediction(
            emotion=[self.classes[i] for i in posterior.argmax(dim=-1)],
            posterior=posterior.numpy(),
            valence=valence.numpy(),
            weights=weights.numpy(),
        )

    def _checked(self, features: Mapping[str, NDArray[Any]]) -> dict[str, Tensor]:
        tensors: dict[str, Tensor] = {}
        for name, dimension in self.features.items():
            if name not in features:
                raise UserError(f"the model needs the feature set {name!r}; given: {sorted(features)}")
            with np.errstate(over="ignore"):  # what float32 cannot hold is refused as infinite
                array = np.require(features[name], np.float32, "W")
            if array.ndim != 2 or array.shape[1] != dimension:
                raise UserError(f"feature set {name!r}: expected shape (B, {dimension}), found {array.shape}")
            count_missing(name, array, "the features to predict from")  # refuses what is NaN in part
            tensors[name] = torch.from_numpy(array)
        if len({len(t) for t in tensors.values()}) > 1:
            raise UserError(f"feature sets differ in rows: { {k: len(v) for k, v in tensors.items()} }")
        return tensors


def refuse_no_numbers(posterior: Tensor, valence: Tensor) -> None:
    """A UserError for the first row whose posterior (B, C) or valence (B,) is NaN or infinite."""
    bad = (~(posterior.isfinite().all(dim=-1) & valence.isfinite())).nonzero()
    if len(bad):
        raise UserError(
            f"no decision comes of row {int(bad[0])} (counted from 0) of the features: extreme there, "
            "or the model is damaged; mend or remove that utterance"
        )


def load(path: str | Path, fold: int | None = None) -> Predictor:
    """The model of a finished run (its directory, or its ``model`` folder).

    Args:
        fold: take this fold alone; None: all folds together, as the test figures report.

    Raises:
        UserError: no model there, a damaged one, or no such fold.
    """
    folder = Path(path) / "model" if (Path(path) / "model").is_dir() else Path(path)
    d = read_description(folder)
    chosen = [s for s in d.networks if fold in (None, s.fold)]
    if not chosen:
        raise UserError(f"{path}: no fold {fold}; the model has folds {sorted({s.fold for s in d.networks})}")
    with reading(folder / FILE, REMEDY):
        chosen = _of_one(chosen)
    members = tuple(Member(read_network(folder / s.file), s.posterior_share, s.valence_share) for s in chosen)
    features = needed_features(m.trained.network.architecture for m in members)
    each = [item for m in members for item in needed_features([m.trained.network.architecture]).items()]
    if any(features[name] != n or d.features.get(name, n) != n for name, n in each):
        raise UserError(f"{folder / FILE}: its features are not those of the networks beside it; {REMEDY}")
    if any(m.trained.network.architecture.classes != len(d.classes) for m in members):
        raise UserError(f"{folder / FILE}: its emotions are not those of the networks beside it; {REMEDY}")
    extractors = {name: d.extractors.get(name, {}) for name in features}
    return Predictor(d.classes, members, d.ensemble, extractors, d.valence)


def _of_one(shares: list[Share]) -> list[Share]:
    """The shares of some of a model's networks, scaled to a sum of 1."""
    posterior, valence = sum(s.posterior_share for s in shares), sum(s.valence_share for s in shares)
    return [
        replace(s, posterior_share=s.posterior_share / posterior, valence_share=s.valence_share / valence)
        for s in shares
    ]
