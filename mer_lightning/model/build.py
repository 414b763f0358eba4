"""Networks from their description."""

import warnings
from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor

from mer_lightning.config.registry import NETWORKS
from mer_lightning.model.base import Architecture, EmotionNetwork


def build(architecture: Architecture) -> EmotionNetwork:
    """The network that ``architecture`` describes, with fresh weights."""
    return cast(EmotionNetwork, NETWORKS.make(architecture.kind, architecture, **architecture.options))


def on_meta_device(architecture: Architecture) -> EmotionNetwork:
    """The same without any weights: shapes alone, which take no memory."""
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch has advice on layers of width 0, which are meant
        return build(architecture)


def with_weights(network: EmotionNetwork, weights: Mapping[str, Tensor]) -> EmotionNetwork:
    """A network on the meta device that takes the tensors themselves for its weights: nothing is copied."""
    network.load_state_dict(weights, assign=True)
    return network
