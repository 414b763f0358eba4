"""PNAO: pruning-based network architecture optimization, as a callback for any LightningModule.

A library of its own: it needs torch, lightning and safetensors, and nothing of the rest of the package.
"""

from mer_lightning.pnao.callback import PNAO
from mer_lightning.pnao.compact import compact, fit_widths
from mer_lightning.pnao.importance import node_importance, weight_importance
from mer_lightning.pnao.layers import Columns, NodesError
from mer_lightning.pnao.masks import global_masks
from mer_lightning.pnao.nodes import Nodes, chain

__all__ = [
    "PNAO",
    "Columns",
    "Nodes",
    "NodesError",
    "chain",
    "compact",
    "fit_widths",
    "global_masks",
    "node_importance",
    "weight_importance",
]
