"""The optimizer's side of a round: the sparse term, the state that goes on, the schedule's rewinding."""

import warnings
from collections.abc import Collection, Mapping, Sequence
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


@torch.no_grad()
def shrink(weights: Collection[Tensor], optimizer: Optimizer, alpha: float) -> None:
    """The proximal step of ``alpha ||W||_1``: ``W <- sign(W) max(|W| - lr alpha, 0)``, lr the group's own.

    After the optimizer's step, so that no moment of Adam scales it: all weights shrink alike.
    """
    ours = {id(w) for w in weights}
    for group in optimizer.param_groups:
        found = [w for w in group["params"] if id(w) in ours]
        if found:
            shrunk = torch._foreach_abs(found)
            torch._foreach_sub_(shrunk, float(group["lr"]) * alpha)
            torch._foreach_clamp_min_(shrunk, 0.0)
            torch._foreach_copy_(found, torch._foreach_mul(torch._foreach_sign(found), shrunk))


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
    for key in state:
        layer, _, tensor = key.partition("/")[2].rpartition(".")
        if layer in kept and tensor in (found := axes(module.get_submodule(layer))):
            full = module.get_parameter(f"{layer}.{tensor}")
            narrow[key] = take(state[key], found[tensor], kept[layer], full)
    return narrow


def put_back(state: Mapping[str, Tensor], module: nn.Module, optimizer: Optimizer) -> None:
    """Let the optimizer go on from ``state``, each tensor on the device that the optimizer wants."""
    if not state:
        return
    found: dict[str, State] = {}
    for key, tensor in state.items():
        kind, _, name = key.partition("/")
        found.setdefault(name, {})[kind] = tensor.clone()
    names = {parameter: name for name, parameter in module.named_parameters()}
    whole = optimizer.state_dict()
    for group, saved in zip(optimizer.param_groups, whole["param_groups"], strict=True):
        for parameter, index in zip(group["params"], saved["params"], strict=True):
            if names.get(parameter) in found:
                whole["state"][index] = found[names[parameter]]
    optimizer.load_state_dict(whole)


def steps_before(trainer: L.Trainer, epoch: int) -> list[int]:
    """Of each schedule, how often Lightning steps it before ``epoch``; ValueError as from ``rewind``."""
    if trainer.max_epochs and 0 < trainer.max_epochs <= epoch:
        raise ValueError(f"rewind_epoch={epoch}: expected less than max_epochs={trainer.max_epochs}")
    if trainer.max_steps > 0 and trainer.max_steps <= epoch * steps_in_epoch(trainer):
        raise ValueError(f"rewind_epoch={epoch}: comes after the last step, max_steps={trainer.max_steps}")
    counts = []
    for config in trainer.lr_scheduler_configs:
        if config.reduce_on_plateau:
            raise ValueError("rewind_epoch > 0: ReduceLROnPlateau has no course to go back on; leave it at 0")
        if config.interval == "step":
            counts.append(epoch * steps_in_epoch(trainer, config.frequency))
        elif epoch % config.frequency:
            raise ValueError(f"rewind_epoch={epoch}: expected a multiple of the schedule's frequency")
        else:
            counts.append(epoch // config.frequency)
    return counts


def steps_in_epoch(trainer: L.Trainer, frequency: int = 1) -> int:
    """How often in an epoch Lightning steps the optimizer, or a schedule by steps of that frequency."""
    batches, every = trainer.num_training_batches, trainer.accumulate_grad_batches
    if isinstance(batches, float):
        raise ValueError("rewind_epoch > 0: steps can be counted only if the training loader has a length")
    stepped = (b for b in range(1, batches + 1) if b % every == 0 or b == batches)
    return sum(b % frequency == 0 for b in stepped)


def rewind(trainer: L.Trainer, epoch: int, *, only_check: bool) -> None:
    """Let this fit go through the schedule from ``epoch`` to its end, epoch by epoch or step by step.

    Raises:
        ValueError: a schedule cannot be entered there, or nothing is left of the fit.
    """
    if not epoch:
        return
    counts, loop = steps_before(trainer, epoch), trainer.fit_loop
    if only_check:
        return
    for config, count in zip(trainer.lr_scheduler_configs, counts, strict=True):
        _step(config.scheduler, count)
    if loop.max_epochs is not None and loop.max_epochs > 0:
        loop.max_epochs -= epoch
    if loop.max_steps > 0:
        loop.epoch_loop.max_steps -= epoch * steps_in_epoch(trainer)


def _step(scheduler: Any, count: int) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step\\(\\)` before")
        for _ in range(count):
            scheduler.step()
