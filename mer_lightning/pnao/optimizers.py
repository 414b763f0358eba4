"""The optimizer's side of a round: the sparse term, the state that goes on, the schedule's rewinding."""

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mer_lightning.pnao.compact import kept_in, take
from mer_lightning.pnao.layers import axes
from mer_lightning.pnao.nodes import Nodes

UNSCALES = "_step_supports_amp_scaling"  # torch's mark of optimizers that unscale gradients in their step

State = dict[str, Tensor]  # "KIND/PARAMETER" -> tensor, such as "exp_avg/net.0.weight"


@torch.no_grad()
def add_l1_subgradient(weights: Sequence[Tensor], alpha: float) -> None:
    """Add ``alpha * sign(W)`` to the gradients in place: the sparse term of Eq. 8 with p = 1.

    The term is not built into the graph because that costs more than the forward pass.
    """
    gradients = [w.grad for w in weights if w.grad is not None]
    if not gradients:
        return
    signs = torch._foreach_sign([w for w in weights if w.grad is not None])
    torch._foreach_add_(gradients, signs, alpha=alpha)


def gradient_scale(trainer: L.Trainer, optimizer: Optimizer) -> float:
    """What gradients are multiplied by before a step: 1, unless a fused optimizer unscales those of fp16."""
    scaler = getattr(trainer.precision_plugin, "scaler", None)
    return float(scaler.get_scale()) if scaler and getattr(optimizer, UNSCALES, False) else 1.0


def state_of(module: nn.Module, optimizer: Optimizer) -> State:
    """The optimizer's tensors by kind and parameter; not copied."""
    return {
        f"{kind}/{name}": tensor
        for name, parameter in module.named_parameters()
        for kind, tensor in optimizer.state.get(parameter, {}).items()
        if isinstance(tensor, Tensor)
    }


def narrowed(
    state: Mapping[str, Tensor], module: nn.Module, nodes: Nodes, masks: Mapping[str, Tensor]
) -> State:
    """The state of what the masks keep, for the parameters of the narrower module."""
    kept, narrow = kept_in(nodes, masks), dict(state)
    for layer, its_kept in kept.items():
        for tensor, its_axes in axes(module.get_submodule(layer)).items():
            for key in [k for k in state if k.partition("/")[2] == f"{layer}.{tensor}"]:
                narrow[key] = take(state[key], its_axes, its_kept)
    return narrow


def put_back(state: Mapping[str, Tensor], module: nn.Module, optimizer: Optimizer) -> None:
    """Let the optimizer go on from ``state``."""
    parameters = dict(module.named_parameters())
    for key, tensor in state.items():
        kind, _, name = key.partition("/")
        parameter = parameters[name]
        optimizer.state[parameter][kind] = tensor.to(parameter.device)


def rewind(trainer: L.Trainer, epoch: int) -> None:
    """Let this fit go through the schedule from ``epoch`` to its end, epoch by epoch or step by step.

    Raises:
        ValueError: a schedule without a course of its own (ReduceLROnPlateau), or nothing left of it.
    """
    if not epoch:
        return
    if trainer.max_epochs is not None and trainer.max_epochs > 0:
        if epoch >= trainer.max_epochs:
            raise ValueError(f"rewind_epoch={epoch}: expected less than the Trainer's max_epochs")
        trainer.fit_loop.max_epochs = trainer.max_epochs - epoch
    steps = math.ceil(trainer.num_training_batches / trainer.accumulate_grad_batches)
    for config in trainer.lr_scheduler_configs:
        if config.reduce_on_plateau:
            raise ValueError("rewind_epoch > 0: ReduceLROnPlateau has no course to go back on; leave it at 0")
        count = epoch if config.interval == "epoch" else epoch * steps
        _step(config.scheduler, count // config.frequency)


def _step(scheduler: Any, count: int) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step\\(\\)` before")
        for _ in range(count):
            scheduler.step()
