"""Dropout whose random numbers cost a third: on the CPU drawing them is a sixth of a training step."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LEVELS = 2**16  # four decisions from each 64-bit draw


class Dropout(nn.Module):
    """Zeroes each element with probability p while training, and scales the rest to keep the mean.

    On the CPU p is rounded to a multiple of 2^-16, and the scale goes with what it is rounded to; elsewhere
    it is torch's own dropout.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Any shape -> the same shape."""
        if not self.training or self.p == 0:
            return x
        if x.device.type != "cpu":
            return F.dropout(x, self.p)
        return x * keep_mask(x, self.p)

    def extra_repr(self) -> str:
        """Shown in ``print(network)``."""
        return f"p={self.p}"


def keep_mask(like: Tensor, p: float) -> Tensor:
    """A random mask of the shape and type of ``like``: 0 with probability p, else 1 / (1 - p)."""
    dropped = min(round(p * LEVELS), LEVELS - 1)
    draws = torch.empty(-(-like.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
    uniform = draws.view(torch.int16)[: like.numel()].view(like.shape)  # -2^15 to 2^15 - 1
    kept = uniform >= dropped - LEVELS // 2
    return kept.to(like.dtype).mul_(LEVELS / (LEVELS - dropped))
