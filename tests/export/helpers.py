"""Models of all systems with random weights, and what they decide."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from mer_lightning.data.standardise import Standardisation
from mer_lightning.export.formats import OUTPUTS, Arrays
from mer_lightning.model.base import Architecture
from mer_lightning.model.build import build
from mer_lightning.model.checkpoint import Trained
from mer_lightning.model.decisions import EnsembleWeights
from mer_lightning.results.predictor import Predictor

LEVELS, SHARED = {"low": 6, "high": 5}, {"face": 4}


SIZES = (1, 7, 256)


ENTROPY = Architecture(LEVELS, SHARED, classes=3, dimension=8)


ATTENTION = replace(ENTROPY, fusion="attention")


PRUNED = replace(
    ATTENTION, widths={"low/gathered": 3, "high/gathered": 5, "low/encoder/face": 1, "high/attention_1": 2}
)


TRANSFORMER = replace(ENTROPY, kind="transformer", options={"layers": 2, "heads": 2})


ONE_LEVEL = Architecture({"low": 6}, {}, classes=3, dimension=8)


SYSTEMS: dict[str, tuple[Architecture, ...]] = {
    "entropy": (ENTROPY, ENTROPY),
    "attention": (ATTENTION,),
    "mean": (replace(ENTROPY, fusion="mean"),),
    "linear": (replace(ENTROPY, fusion="linear", options={"weights": [0.8, 0.2]}),),
    "raw scores": (replace(ENTROPY, softmax=False),),
    "pruned": (PRUNED, ENTROPY),
    "emptied": (replace(ENTROPY, widths={"low/encoder/face": 0, "high/attention_2": 0}),),
    "chosen inputs": (replace(ENTROPY, inputs=True, widths={"low/input/low": 2, "high/input/face": 0}),),
    "one level": (ONE_LEVEL, ONE_LEVEL),
    "transformer": (TRANSFORMER,),
    "combined": (ENTROPY, ATTENTION, replace(ONE_LEVEL, levels={"high": 5}), TRANSFORMER),
    "inner names": (
        Architecture(
            {"linear": 3, "val_0": 4}, {"statistic_0": 2, "softmax": 3, "a b/é.1": 2}, 3, dimension=4
        ),
    ),
}


def made(*architectures: Architecture, ensemble: str = "posterior", seed: int = 0) -> Predictor:
    """A predictor with random weights, statistics and weights."""
    torch.manual_seed(seed)
    weights = EnsembleWeights(*torch.rand(2, len(architectures)))
    members = []
    for a in architectures:
        sets = a.levels | a.shared
        mean = {name: 5 * torch.randn(d) for name, d in sets.items()}
        deviation = {name: 0.1 + 4 * torch.rand(d) for name, d in sets.items()}
        members.append(Trained(build(a).eval(), Standardisation(mean, deviation)))
    return Predictor(("angry", "happy", "sad"), tuple(members), weights, ensemble)


def features_for(predictor: Predictor, rows: int, seed: int = 1) -> dict[str, np.ndarray]:
    """Raw features; the last row of the first set is missing where there are several rows."""
    rng = np.random.default_rng(seed)
    features = {n: rng.normal(2, 6, (rows, d)).astype(np.float32) for n, d in predictor.features.items()}
    if rows > 1:
        next(iter(features.values()))[-1] = np.nan
    return features


def check_same(found: Mapping[str, Any], predictor: Predictor, features: Arrays) -> None:
    expected = predictor.predict(features)
    for name in OUTPUTS:
        wanted = getattr(expected, name)
        assert np.isfinite(wanted).all()
        assert found[name].shape == wanted.shape
        np.testing.assert_allclose(found[name], wanted, atol=1e-5, rtol=1e-5)
