"""Which nodes stay: Eq. 11, its guards, and the controls that remove as many nodes in another way.

Pure functions of importances and numbers; a mask is True where the node stays.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor


def global_masks(importances: Mapping[str, Tensor], rate: float) -> dict[str, Tensor]:
    """Eq. 11: node j of layer l stays where ``g(l, j) >= k * max(g)``, the max over all layers.

    Args:
        importances: layer -> (width,), each >= 0.
        rate: k, the NAOR, in [0, 1); 0 keeps every node.

    Returns:
        layer -> (width,) bool mask.
    """
    highest = max((float(g.max()) for g in importances.values() if g.numel()), default=0.0)
    return {layer: g >= rate * highest for layer, g in importances.items()}


def strongest(importance: Tensor, keep: int) -> Tensor:
    """Mask of the ``keep`` most important of a layer's nodes; ties go to the lower index."""
    order = torch.argsort(importance, descending=True, stable=True)
    mask = torch.zeros_like(importance, dtype=torch.bool)
    mask[order[:keep]] = True
    return mask


def quota_masks(importances: Mapping[str, Tensor], keep: Mapping[str, int]) -> dict[str, Tensor]:
    """Masks that leave ``keep[layer]`` nodes in each layer, the most important ones."""
    return {layer: strongest(g, keep[layer]) for layer, g in importances.items()}


def random_masks(importances: Mapping[str, Tensor], keep: Mapping[str, int], seed: int) -> dict[str, Tensor]:
    """Masks that leave ``keep[layer]`` nodes in each layer, drawn at random."""
    generator = torch.Generator().manual_seed(seed)
    return {
        layer: strongest(torch.rand(len(g), generator=generator), keep[layer]).to(g.device)
        for layer, g in importances.items()
    }


class Guarded(NamedTuple):
    """Masks after the guards, and what the guards did, a sentence each."""

    masks: dict[str, Tensor]
    notes: list[str]


def guard_masks(
    masks: Mapping[str, Tensor], importances: Mapping[str, Tensor], min_width: int, max_share: float
) -> Guarded:
    """Give back the most important of the nodes that ``masks`` takes too many of.

    No layer gets narrower than ``min_width`` (or than it is), or loses more than ``max_share`` of its
    nodes at once.
    """
    guarded, notes = {}, []
    for layer, mask in masks.items():
        width, kept = len(mask), int(mask.sum())
        floor = max(min(min_width, width), width - int(max_share * width))
        guarded[layer] = mask
        if kept < floor:
            guarded[layer] = strongest(importances[layer], floor)
            notes.append(f"{layer}: Eq. 11 keeps {kept} of {width} nodes, the guard keeps {floor}")
    return Guarded(guarded, notes)


def emptied_layers(masks: Mapping[str, Tensor]) -> list[str]:
    """Sentences naming the layers of which no node is left, for the literal rule without guards."""
    notes = []
    for layer, mask in masks.items():
        if not mask.any():
            branch, _, feature_set = layer.partition("/encoder/")
            what = (
                f"the encoder of {feature_set!r} in branch {branch!r}" if feature_set else f"layer {layer!r}"
            )
            notes.append(f"{what} has no node left: it now passes on a constant")
    return notes
