"""Feature sets that are missing, at training (modality dropout), in prediction and in tests: zeros.

Zeros after standardisation are the training part's mean. So a set that is removed looks to the network as one
that a store lacks, the inputs of the other sets keep their scale, and no parameter is added.
"""

from collections.abc import Mapping

import torch
from torch import Tensor


def present(x: Tensor) -> Tensor:
    """(B, D_s) standardised -> (B,) bool: which rows are there, that is, not all zeros."""
    return (x != 0).any(dim=-1)


def modality_dropout(features: Mapping[str, Tensor], p: float) -> dict[str, Tensor]:
    """Remove each feature set of each utterance with probability p, but never all that it has.

    Where chance would remove them all, one is left, each as often. What is left is not scaled up: a set is
    there or not, as it will be in use.

    Args:
        features: feature set -> (B, D_s), standardised.
    """
    there = torch.stack([present(x) for x in features.values()], dim=-1)
    draws = torch.where(there, torch.rand(there.shape, device=there.device), -1.0)
    kept = (draws >= p) | (draws == draws.max(dim=-1, keepdim=True).values)
    masks = kept.unsqueeze(-1).unbind(dim=1)
    return {name: x * mask for (name, x), mask in zip(features.items(), masks, strict=True)}


def weights_of_present(weights: Tensor, there: Tensor) -> Tensor:
    """The fusion's weights (B, M), 0 for branches that have no input at all, the others scaled to sum to 1.

    Where no branch has an input, or none of those that have one any weight, the weights stay as they are.

    Args:
        there: (B, M) bool, the branches that have an input.
    """
    left = weights * there
    total = left.sum(dim=-1, keepdim=True)
    change = ~there.all(dim=-1, keepdim=True) & (total > 0)
    return torch.where(change, left / torch.where(total > 0, total, 1.0), weights)
