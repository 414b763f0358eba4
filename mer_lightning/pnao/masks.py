"""Which nodes stay: Eq. 11, its guards, a schedule by target, and masks that controls are made of.

Pure functions of importances and numbers; a mask is True where the node stays.
"""

from bisect import bisect_left
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

Importances = Mapping[str, Tensor]  # group -> (width,), each >= 0
Masks = dict[str, Tensor]  # group -> (width,) bool


def global_masks(importances: Importances, rate: float) -> Masks:
    """Eq. 11: node j of group l stays where ``g(l, j) >= k * max(g)``, the max over all groups.

    Args:
        importances: group -> (width,), each >= 0.
        rate: k, the NAOR, in [0, 1); 0 keeps every node.

    >>> global_masks({"a": torch.tensor([1.0, 0.1]), "b": torch.tensor([0.4])}, rate=0.3)
    {'a': tensor([ True, False]), 'b': tensor([True])}
    """
    highest = max((float(g.max()) for g in importances.values() if g.numel()), default=0.0)
    return {group: g >= rate * highest for group, g in importances.items()}


def top_k(importance: Tensor, keep: int) -> Tensor:
    """Mask of the ``keep`` most important of a group's nodes; ties go to the lower index."""
    order = torch.argsort(importance, descending=True, stable=True)
    mask = torch.zeros_like(importance, dtype=torch.bool)
    mask[order[:keep]] = True
    return mask


def top_k_masks(importances: Importances, keep: Mapping[str, int]) -> Masks:
    """Masks that leave the ``keep[group]`` most important nodes of each group."""
    return {group: top_k(g, keep[group]) for group, g in importances.items()}


def random_masks(importances: Importances, keep: Mapping[str, int], seed: int) -> Masks:
    """Masks that leave ``keep[group]`` nodes of each group, drawn at random."""
    generator = torch.Generator().manual_seed(seed)
    return {
        group: top_k(torch.rand(len(g), generator=generator), keep[group]).to(g.device)
        for group, g in importances.items()
    }


class Guarded(NamedTuple):
    """Masks after the guards, and what the guards did, a sentence each."""

    masks: Masks
    notes: list[str]


def guard_masks(
    masks: Mapping[str, Tensor], importances: Importances, min_width: int, max_share: float
) -> Guarded:
    """Give back the most important of the nodes that ``masks`` takes too many of.

    No group gets narrower than ``min_width`` (or than it is), or loses more than ``max_share`` of its
    nodes at once. A group of which no node is left (``min_width=0`` admits it) is named.
    """
    guarded, notes = {}, []
    for group, mask in masks.items():
        width, kept = len(mask), int(mask.sum())
        floor = max(min(min_width, width), width - int(max_share * width))
        guarded[group] = mask
        if kept < floor:
            guarded[group] = top_k(importances[group], floor)
            notes.append(f"{group}: the rule keeps {kept} of {width} nodes, the guard keeps {floor}")
        elif not kept:
            notes.append(f"{group}: dropped as a whole, no node is left; it passes on a constant")
    return Guarded(guarded, notes)


def even_groups(mask: Tensor, importance: Tensor, parts: int) -> Tensor:
    """The mask with as many nodes kept in each of ``parts`` equal parts as in the one that keeps most.

    What a GroupNorm of ``parts`` groups needs, whose groups must stay equally wide.
    """
    kept = int(mask.view(parts, -1).sum(dim=1).max())
    return torch.cat([top_k(part, kept) for part in importance.view(parts, -1)])


def share_left(keep: float, number: int, rounds: int) -> float:
    """The share of the prunable parameters that round ``number`` of ``rounds`` is to have left.

    From 1 in round 0 to ``keep`` in the last, cubically: ``keep + (1 - keep) (1 - number / rounds)^3`` (Zhu
    and Gupta 2017).
    """
    return float(keep + (1 - keep) * (1 - number / rounds) ** 3)


def target_masks(
    importances: Importances,
    budget: float,
    size: Callable[[Mapping[str, int]], int],
    settle: Callable[[Masks], Masks] = lambda masks: masks,
) -> Masks:
    """Keep the nodes of the highest importance over all groups, as many as fit into ``budget`` parameters.

    Args:
        size: group -> width, to the number of parameters; it grows with every width.
        settle: what is done to masks before they count, such as ``even_groups``; more nodes stay more.

    Returns:
        The masks of the lowest threshold on importance that fits; all nodes if they do.
    """
    levels = sorted({level for g in importances.values() for level in g.tolist()})

    def masks(threshold: float) -> Masks:
        return settle({group: g >= threshold for group, g in importances.items()})

    def fits(threshold: float) -> bool:
        return size({group: int(mask.sum()) for group, mask in masks(threshold).items()}) <= budget

    first = bisect_left(levels, True, key=fits)
    return masks(levels[min(first, len(levels) - 1)] if levels else 0.0)
