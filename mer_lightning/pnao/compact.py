"""Physical removal: a masked network becomes a narrower one with the same outputs."""

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from mer_lightning.model.base import EmotionNetwork
from mer_lightning.model.build import sketched, with_weights
from mer_lightning.model.groups import NodeGroup


class Kept(NamedTuple):
    """Of one linear layer: the indices of the rows and columns that stay; None means all."""

    rows: Tensor | None
    columns: Tensor | None


def kept_indices(
    groups: tuple[NodeGroup, ...], masks: Mapping[str, Tensor], columns: Mapping[str, int]
) -> dict[str, Kept]:
    """What stays of each layer that a group touches.

    Args:
        groups: the network's declared groups.
        masks: group -> (width,) bool.
        columns: layer -> number of its input columns now.
    """
    rows: dict[str, Tensor] = {}
    column_masks: dict[str, Tensor] = {}
    for group in groups:
        mask = masks[group.name].cpu()
        for layer in group.producers:
            rows[layer] = mask.nonzero().squeeze(1)
        for consumer in group.consumers:
            reads = column_masks.setdefault(
                consumer.layer, torch.ones(columns[consumer.layer], dtype=torch.bool)
            )
            reads[consumer.offset : consumer.offset + group.width] = mask
    kept_columns = {layer: mask.nonzero().squeeze(1) for layer, mask in column_masks.items()}
    return {layer: Kept(rows.get(layer), kept_columns.get(layer)) for layer in sorted({*rows, *kept_columns})}


def take(tensor: Tensor, kept: Kept) -> Tensor:
    """A copy of the kept rows, and of a matrix the kept columns, of a layer's weight, bias or their moments.

    A scalar (Adam's count of steps) is kept as it is.
    """
    part = tensor
    if kept.rows is not None and tensor.ndim > 0:
        part = part.index_select(0, kept.rows.to(tensor.device))
    if kept.columns is not None and tensor.ndim == 2:
        part = part.index_select(1, kept.columns.to(tensor.device))
    return tensor.clone() if part is tensor else part


def kept_in(network: EmotionNetwork, masks: Mapping[str, Tensor]) -> dict[str, Kept]:
    """``kept_indices`` of a network: layer -> what stays of it."""
    groups = network.node_groups()
    columns = {
        c.layer: network.get_parameter(f"{c.layer}.weight").shape[1] for g in groups for c in g.consumers
    }
    return kept_indices(groups, masks, columns)


def compact(network: EmotionNetwork, masks: Mapping[str, Tensor]) -> EmotionNetwork:
    """A narrower network without the masked nodes: same outputs as the masked one, to 1e-6.

    Args:
        network: left as it is.
        masks: node group -> (width,) bool, True where the node stays.
    """
    kept = kept_in(network, masks)
    widths = {name: int(mask.sum()) for name, mask in masks.items()}
    everything = Kept(None, None)
    state = {
        name: take(tensor, kept.get(name.rpartition(".")[0], everything))
        for name, tensor in network.state_dict().items()
    }
    narrow = with_weights(sketched(replace(network.architecture, widths=widths)), state)
    return narrow.train(network.training)


@torch.no_grad()
def masked(network: EmotionNetwork, masks: Mapping[str, Tensor]) -> EmotionNetwork:
    """A copy of full width in which the masked nodes' weights and biases are zero."""
    network = copy.deepcopy(network)
    for group in network.node_groups():
        gone = ~masks[group.name]
        for producer in group.producers:
            network.get_parameter(f"{producer}.weight")[gone] = 0
            network.get_parameter(f"{producer}.bias")[gone] = 0
    return network
