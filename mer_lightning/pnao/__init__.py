"""PNAO: pruning-based network architecture optimization (Algorithm 1, Eq. 10 and 11)."""

from mer_lightning.pnao.compact import compact
from mer_lightning.pnao.importance import node_importance
from mer_lightning.pnao.masks import global_masks

__all__ = ["compact", "global_masks", "node_importance"]
