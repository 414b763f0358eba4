"""A trained model at work: ``load`` a run or its ``model`` folder, ``predict`` from features."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mer_lightning.errors import UserError
from mer_lightning.network.checkpoint import Trained, read_network

DESCRIPTION = "model.json"


class Prediction(NamedTuple):
    """Predictions for B utterances by M branches over C emotions."""

    emotion: list[str]
    posterior: NDArray[np.float32]  # (B, C)
    valence: NDArray[np.float32]  # (B,)
    weights: NDArray[np.float32]  # (B, M)


def average_log_posteriors(log_posteriors: Tensor, ensemble: str) -> Tensor:
    """Mean over F networks: (F, B, C) log-posteriors -> (B, C) posteriors.

    ``posterior``: the mean of the posteriors. ``logit``: the softmax of the mean of the logits, which
    for softmax outputs is that of the mean of the log-posteriors.
    """
    if ensemble == "logit":
        return torch.softmax(log_posteriors.mean(dim=0), dim=-1)
    return log_posteriors.exp().mean(dim=0)


@dataclass(frozen=True)
class Predictor:
    """The chosen round's networks, one per fold; their mean is the prediction."""

    classes: tuple[str, ...]
    networks: tuple[Trained, ...]
    ensemble: str

    @property
    def features(self) -> dict[str, int]:
        """Feature set -> dimension, as ``predict`` needs them; the levels first."""
        architecture = self.networks[0].network.architecture
        return architecture.levels | architecture.shared

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
        decisions = [t.network(t.standardisation(tensors)) for t in self.networks]
        log_posteriors = torch.stack([d.log_posterior for d in decisions])
        posterior = average_log_posteriors(log_posteriors, self.ensemble)
        return Prediction(
            emotion=[self.classes[i] for i in posterior.argmax(dim=-1)],
            posterior=posterior.numpy(),
            valence=torch.stack([d.valence for d in decisions]).mean(dim=0).numpy(),
            weights=torch.stack([d.weights for d in decisions]).mean(dim=0).numpy(),
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


def describe_model(
    folder: Path, classes: tuple[str, ...], folds: int, ensemble: str, origin: dict[str, Any]
) -> None:
    """Write the description that ``load`` reads, beside the networks ``fold_0``, ``fold_1``, ..."""
    text = {"schema": 1, "classes": list(classes), "folds": folds, "ensemble": ensemble, "origin": origin}
    (folder / DESCRIPTION).write_text(json.dumps(text, indent=1, ensure_ascii=False), encoding="utf-8")


def load(path: str | Path, fold: int | None = None) -> Predictor:
    """The model of a finished run (its directory, or its ``model`` folder).

    Args:
        fold: take this fold's network alone; None: the mean over the folds.

    Raises:
        UserError: no model there, a damaged one, or no such fold.
    """
    folder = Path(path) / "model" if (Path(path) / "model").is_dir() else Path(path)
    try:
        description = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        folds, classes = range(int(description["folds"])), tuple(map(str, description["classes"]))
        ensemble = str(description["ensemble"])
    except FileNotFoundError as error:
        raise UserError(
            f"{path}: no model here; give a finished run's directory or its model folder"
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder / DESCRIPTION}: cannot be read: {error}") from error
    if fold is not None and fold not in folds:
        raise UserError(f"{path}: no fold {fold}; the model has folds 0 to {len(folds) - 1}")
    chosen = folds if fold is None else [fold]
    return Predictor(classes, tuple(read_network(folder / f"fold_{f}") for f in chosen), ensemble)
