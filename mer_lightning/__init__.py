"""Multimodal emotion recognition with entropy-based fusion and pruning-based network optimization."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mer_lightning.results.predictor import Predictor, load

__version__ = "0.1.0"

__all__ = ["Predictor", "load"]


def __getattr__(name: str) -> object:
    """Import the predictor only when it is asked for: it needs torch, the command line does not."""
    if name in __all__:
        from mer_lightning.results import predictor as predict

        return getattr(predict, name)
    raise AttributeError(f"module 'mer_lightning' has no attribute {name!r}")
