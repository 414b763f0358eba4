"""A module looked at on one input: is it what its nodes say, and how much work is it?"""

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import lightning as L
import torch
from lightning.fabric.utilities import move_data_to_device
from torch import Tensor, nn
from torch.func import functional_call

from mer_lightning.pnao.compact import masked_state, narrow_while
from mer_lightning.pnao.layers import READERS, NodesError, mixes_nodes
from mer_lightning.pnao.nodes import Nodes, norm_parts, widths

TOLERANCE = 1e-3  # of an output's size, far below what a wrong declaration changes


class Probe:
    """An input for ``forward``: ``example_input_array``, or else the inputs of a batch.

    Of a batch that is a tuple or list the first part counts.
    """

    def __init__(self, trainer: L.Trainer, module: L.LightningModule, batch: Any) -> None:
        self.precision, self.device = trainer.precision_plugin, module.device
        self.arguments: tuple[Any, ...] = ()
        self.keywords: dict[str, Any] = {}
        example = module.example_input_array
        if example is None:
            self.arguments = (copy.deepcopy(batch[0] if isinstance(batch, tuple | list) else batch),)
            return
        example = move_data_to_device(self.precision.convert_input(example), self.device)
        if isinstance(example, dict):
            self.keywords = example
        else:
            self.arguments = example if isinstance(example, tuple) else (example,)

    @torch.no_grad()
    def __call__(self, module: nn.Module, state: Mapping[str, Tensor] | None = None) -> list[Tensor]:
        """The module's float outputs, in evaluation mode; with ``state`` in the place of its own.

        No random number is used up, and nothing is computed in less than the module's own precision.
        """
        training = [m for m in module.modules() if m.training]
        module.eval()
        kind, cuda = self.device.type, [self.device] if self.device.type == "cuda" else []
        try:
            with (
                torch.random.fork_rng(cuda),
                self.precision.forward_context(),
                torch.autocast(kind, enabled=False),
            ):
                outputs = functional_call(module, dict(state or {}), self.arguments, self.keywords)
        finally:
            for m in training:
                m.training = True
        return [x for x in tensors(outputs) if x.is_floating_point()]


def tensors(value: Any) -> Iterator[Tensor]:
    """All tensors in nested tuples, lists and dictionaries."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from tensors(item)
    elif isinstance(value, tuple | list):
        for item in value:
            yield from tensors(item)


def largest(x: Tensor) -> float:
    """The largest absolute value; 0 of an empty tensor."""
    return float(x.float().abs().max()) if x.numel() else 0.0


def difference(module: nn.Module, nodes: Nodes, masks: Mapping[str, Tensor], probe: Probe) -> float:
    """Largest absolute difference between the outputs of the masked and the narrow module.

    Only rounding, unless a LayerNorm or GroupNorm takes its statistics over nodes that go.
    """
    masked = probe(module, masked_state(module, nodes, masks))
    with narrow_while(module, nodes, masks):
        narrow = probe(module)
    return max((largest(a - b) for a, b in zip(masked, narrow, strict=True)), default=0.0)


def check_declaration(module: nn.Module, nodes: Nodes, probe: Probe) -> None:
    """Try a narrowing before any training: of each group in turn half the nodes go.

    Where a normalisation takes its statistics over the group's nodes, only that the module runs is seen.

    Raises:
        NodesError: a layer that is not declared works on a group (it is named), or the outputs are others.
    """
    try:
        probe(module)
    except Exception as error:
        raise NodesError(
            f"{type(module).__name__}.forward could not be run on the first part of a batch ({error}); "
            "set the module's example_input_array"
        ) from error
    here, parts = widths(module, nodes), norm_parts(module, nodes)
    for group, width in here.items():
        masks = {name: torch.ones(count, dtype=torch.bool) for name, count in here.items()}
        masks[group] = _half(width, parts.get(group, 1))
        with narrow_while(module, nodes, masks):
            narrow = _run(module, group, probe)
        if any(mixes_nodes(module.get_submodule(name)) for name in nodes.writes[group]):
            continue
        for a, b in zip(probe(module, masked_state(module, nodes, masks)), narrow, strict=True):
            tolerance = max(TOLERANCE, 8 * torch.finfo(a.dtype).eps) * largest(a)
            if a.shape != b.shape or largest(a - b) > tolerance:
                raise NodesError(
                    f"group {group!r}: without some of its nodes the outputs are not those of the masked "
                    "module; check the order in reads, the tied layers in writes, and what forward does with "
                    "the nodes"
                )


def _half(width: int, parts: int) -> Tensor:
    """(width,) mask without about half the nodes of each of the equal parts, drawn at random.

    The first goes and the last stays, so that a reversed order is seen.
    """
    each = width // parts
    mask = torch.randperm(each, generator=torch.Generator().manual_seed(0)) >= each // 2
    mask[:1], mask[-1:] = False, True
    return mask.repeat(parts)


def _run(module: nn.Module, group: str, probe: Probe) -> list[Tensor]:
    """The outputs of the narrower module. NodesError with the name of the layer that cannot be run."""
    running: list[str] = []  # from the module down to what is being run

    def leave(*_: Any) -> None:
        running.pop()

    hooks = []
    for name, layer in module.named_modules():
        hooks.append(layer.register_forward_pre_hook(lambda *_, name=name: running.append(name)))
        hooks.append(layer.register_forward_hook(leave))
    try:
        return probe(module)
    except Exception as error:
        raise NodesError(
            f"layer {running[-1] or type(module).__name__!r}: cannot be run with a narrower {group!r} "
            f"({error}); declare in reads how it reads the nodes, or in writes that it passes them on"
        ) from error
    finally:
        for hook in hooks:
            hook.remove()


def macs(module: nn.Module, probe: Probe) -> int:
    """Multiply-accumulates of linear layers and convolutions for one element of the probe's batch."""
    counts: list[int] = []

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        fan_in = layer.weight[:1].numel()  # type: ignore[index]
        counts.append(output[:1].numel() * fan_in)

    hooks = [m.register_forward_hook(count) for m in module.modules() if isinstance(m, READERS)]
    try:
        probe(module)
    finally:
        for hook in hooks:
            hook.remove()
    return sum(counts)
