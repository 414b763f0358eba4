"""The one place that knows all kinds of networks."""

import warnings
from collections.abc import Mapping

import torch
from torch import Tensor

from mer_lightning.model.base import Architecture, EmotionNetwork
from mer_lightning.model.hierarchical import HierarchicalNetwork
from mer_lightning.model.transformer import TransformerNetwork

KINDS: dict[str, type[EmotionNetwork]] = {
    "hierarchical": HierarchicalNetwork,
    "transformer": TransformerNetwork,
}


def build(architecture: Architecture) -> EmotionNetwork:
    """The network that ``architecture`` describes, with fresh weights."""
    return KINDS[architecture.kind](architecture)


def sketched(architecture: Architecture) -> EmotionNetwork:
    """The same without any weights: shapes alone, which take no memory."""
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch has advice on layers of width 0, which are meant
        return build(architecture)


def with_weights(network: EmotionNetwork, weights: Mapping[str, Tensor]) -> EmotionNetwork:
    """A sketched network that takes the tensors themselves for its weights: nothing is copied."""
    network.load_state_dict(weights, assign=True)
    return network
