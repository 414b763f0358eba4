"""The optimizer of a fit, and its schedule."""

import math
from collections.abc import Callable
from typing import Any

import torch


def adamw(groups: list[dict[str, Any]], lr: float) -> torch.optim.Optimizer:
    """AdamW, fused. groups: parameter groups, each with its own ``weight_decay``."""
    return torch.optim.AdamW(groups, lr=lr, fused=True)


def schedule_factor(schedule: str, epochs: int) -> Callable[[int], float]:
    """Epoch -> factor on the learning rate.

    ``constant``: 1. ``cosine``: ``(1 + cos(pi t / T)) / 2`` over the T epochs of the whole schedule.
    """
    if schedule == "constant":
        return lambda epoch: 1.0
    return lambda epoch: 0.5 * (1 + math.cos(math.pi * epoch / epochs))
