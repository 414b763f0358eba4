"""A trained model at work: ``load`` a run or its ``model`` folder, ``predict`` from features."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mer_lightning.data.corpus import check_id
from mer_lightning.errors import UserError
from mer_lightning.network.checkpoint import Trained, read_network

DESCRIPTION = "model.json"


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
    """The networks of a run's chosen round, one per fold (or of several runs); together they decide."""

    classes: tuple[str, ...]
    members: tuple[Member, ...]
    ensemble: str

    @property
    def features(self) -> dict[str, int]:
        """Feature set -> dimension, as ``predict`` needs them; the levels first."""
        architectures = [m.trained.network.architecture for m in self.members]
        levels = {name: d for a in architectures for name, d in a.levels.items()}
        return levels | {name: d for a in architectures for name, d in a.shared.items()}

    @property
    def voices(self) -> tuple[str, ...]:
        """Names of the branches that a prediction's weights are for."""
        return tuple(dict.fromkeys(v for m in self.members for v in m.trained.network.voices))

    @torch.no_grad()
    def predict(self, features: Mapping[str, NDArray[Any]]) -> Prediction:
        """Emotion and valence of B utterances.

        Args:
            features: feature set -> (B, D), raw: the model standardises them itself. More sets than
                the model needs do no harm.

        Raises:
            UserError: a set is missing, or its shape or values are wrong.
        """
        tensors = self._checked(features)
        decisions = [m.trained.network(m.trained.standardisation(tensors)) for m in self.members]
        log_posteriors = torch.stack([d.log_posterior for d in decisions])
        shares = torch.tensor([m.posterior_share for m in self.members])
        posterior = average_posteriors(log_posteriors, shares, self.ensemble)
        valence_shares = torch.tensor([m.valence_share for m in self.members])
        weights = torch.zeros(len(posterior), len(self.voices))
        for member, decision in zip(self.members, decisions, strict=True):
            columns = [self.voices.index(v) for v in member.trained.network.voices]
            weights[:, columns] += member.posterior_share * decision.weights
        return Prediction(
            emotion=[self.classes[i] for i in posterior.argmax(dim=-1)],
            posterior=posterior.numpy(),
            valence=torch.einsum(
                "f,fb->b", valence_shares, torch.stack([d.valence for d in decisions])
            ).numpy(),
            weights=weights.numpy(),
        )

    def _checked(self, features: Mapping[str, NDArray[Any]]) -> dict[str, Tensor]:
        tensors: dict[str, Tensor] = {}
        for name, dimension in self.features.items():
            if name not in features:
                raise UserError(f"the model needs the feature set {name!r}; given: {sorted(features)}")
            array = np.asarray(features[name], dtype=np.float32)
            if array.ndim != 2 or array.shape[1] != dimension:
                raise UserError(f"feature set {name!r}: expected shape (B, {dimension}), found {array.shape}")
            if not np.isfinite(array).all():
                raise UserError(f"feature set {name!r}: NaN or infinity")
            tensors[name] = torch.from_numpy(array)
        if len({len(t) for t in tensors.values()}) > 1:
            raise UserError(f"feature sets differ in rows: { {k: len(v) for k, v in tensors.items()} }")
        return tensors


class Share(NamedTuple):
    """One network of a model on disk: its file's stem, its fold, its shares in the decision."""

    file: str
    fold: int
    posterior_share: float
    valence_share: float


def write_description(
    folder: Path, classes: tuple[str, ...], ensemble: str, shares: Sequence[Share], origin: dict[str, Any]
) -> None:
    """Write the description that ``load`` reads, beside the networks' files."""
    text = {
        "schema": 1,
        "classes": list(classes),
        "ensemble": ensemble,
        "networks": [share._asdict() for share in shares],
        "origin": origin,
    }
    (folder / DESCRIPTION).write_text(json.dumps(text, indent=1, ensure_ascii=False), encoding="utf-8")


def load(path: str | Path, fold: int | None = None) -> Predictor:
    """The model of a finished run (its directory, or its ``model`` folder).

    Args:
        fold: take this fold alone; None: all folds together, as the test figures report.

    Raises:
        UserError: no model there, a damaged one, or no such fold.
    """
    folder = Path(path) / "model" if (Path(path) / "model").is_dir() else Path(path)
    classes, ensemble, shares = read_description(folder)
    chosen = [s for s in shares if fold in (None, s.fold)]
    if not chosen:
        raise UserError(f"{path}: no fold {fold}; the model has folds {sorted({s.fold for s in shares})}")
    posterior, valence = sum(s.posterior_share for s in chosen), sum(s.valence_share for s in chosen)
    members = tuple(
        Member(read_network(folder / s.file), s.posterior_share / posterior, s.valence_share / valence)
        for s in chosen
    )
    return Predictor(classes, members, ensemble)


def read_description(folder: Path) -> tuple[tuple[str, ...], str, list[Share]]:
    """Classes, ensemble and networks of the model in ``folder``. UserError if it is none, or unsafe."""
    try:
        text = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        shares = [Share(**entry) for entry in text["networks"]]
        classes, ensemble = tuple(map(str, text["classes"])), str(text["ensemble"])
    except FileNotFoundError as error:
        raise UserError(
            f"{folder}: no model here; give a finished run's directory or its model folder"
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder / DESCRIPTION}: cannot be read: {error}") from error
    for share in shares:
        check_id(str(share.file), str(folder / DESCRIPTION))  # a file's name must not leave the folder
    return classes, ensemble, shares
