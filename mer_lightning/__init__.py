"""Multimodal emotion recognition with entropy-based fusion and pruning-based network optimization."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mer_lightning.data.features import FeatureDataModule
    from mer_lightning.model.fusion import entropy_fusion
    from mer_lightning.model.losses import UncertaintyWeighting
    from mer_lightning.model.metrics import EmotionMetrics
    from mer_lightning.model.module import EmotionModule
    from mer_lightning.pnao import PNAO
    from mer_lightning.results.predictor import Predictor, load

__version__ = "0.1.0"

__all__ = [
    "PNAO",
    "EmotionMetrics",
    "EmotionModule",
    "FeatureDataModule",
    "Predictor",
    "UncertaintyWeighting",
    "entropy_fusion",
    "load",
]

_PLACES = {
    "PNAO": "pnao",
    "EmotionMetrics": "model.metrics",
    "EmotionModule": "model.module",
    "FeatureDataModule": "data.features",
    "Predictor": "results.predictor",
    "UncertaintyWeighting": "model.losses",
    "entropy_fusion": "model.fusion",
    "load": "results.predictor",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is asked for: most need torch, and ``--help`` does not."""
    if name not in _PLACES:
        raise AttributeError(f"module 'mer_lightning' has no attribute {name!r}")
    return getattr(import_module(f"mer_lightning.{_PLACES[name]}"), name)
