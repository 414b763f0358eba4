"""The optimizer of a fit."""

from typing import Any

import torch


def adamw(groups: list[dict[str, Any]], lr: float) -> torch.optim.Optimizer:
    """AdamW, fused. groups: parameter groups, each with its own ``weight_decay``."""
    return torch.optim.AdamW(groups, lr=lr, fused=True)
