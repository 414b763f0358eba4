"""A module looked at on one input: is it what its nodes say, and how much work is it?"""

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.func import functional_call

from mer_lightning.pnao.compact import masked_state, narrow
from mer_lightning.pnao.layers import READERS, NodesError, mixes_nodes
from mer_lightning.pnao.nodes import Nodes, norm_parts, widths

TOLERANCE = 1e-3  # of the outputs' size, which is how far off a wrong declaration is


class Probe:
    """An input for ``forward``: ``example_input_array``, or else the inputs of a batch.

    Of a batch that is a tuple or list the first part counts. No random number is used up.
    """

    def __init__(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        example = module.example_input_array
        given = example is not None
        if not given:
            example = _first_batch(trainer)
        example = trainer.strategy.batch_to_device(example, dataloader_idx=0)
        example = trainer.precision_plugin.convert_input(example)
        self.arguments: tuple[Any, ...] = (example,)
        self.keywords: dict[str, Any] = {}
        if isinstance(example, tuple | list):
            self.arguments = tuple(example) if given else (example[0],)
        elif given and isinstance(example, dict):
            self.arguments, self.keywords = (), example

    @torch.no_grad()
    def __call__(self, module: nn.Module, state: Mapping[str, Tensor] | None = None) -> list[Tensor]:
        """The module's float outputs, in evaluation mode; with ``state`` in the place of its own."""
        training = [m for m in module.modules() if m.training]
        module.eval()
        try:
            with torch.random.fork_rng():
                if state is None:
                    outputs = module(*self.arguments, **self.keywords)
                else:
                    outputs = functional_call(module, dict(state), self.arguments, self.keywords)
        finally:
            for m in training:
                m.training = True
        return [x.float() for x in tensors(outputs) if x.is_floating_point()]


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


def _first_batch(trainer: L.Trainer) -> Any:
    loaders: Any = trainer.val_dataloaders or trainer.train_dataloader
    while isinstance(loaders, list | tuple | dict):
        loaders = next(iter(loaders.values() if isinstance(loaders, dict) else loaders))
    with torch.random.fork_rng():
        return next(iter(loaders))


def difference(module: nn.Module, nodes: Nodes, masks: Mapping[str, Tensor], probe: Probe) -> float:
    """Largest absolute difference between the outputs of the masked and the narrow module.

    Only rounding, unless a LayerNorm or GroupNorm takes its statistics over nodes that go.
    """
    narrower = copy.deepcopy(module)
    narrow(narrower, nodes, masks)
    pairs = zip(probe(module, masked_state(module, nodes, masks)), probe(narrower), strict=True)
    return max((float((a - b).abs().max()) for a, b in pairs if a.numel()), default=0.0)


def check_declaration(module: nn.Module, nodes: Nodes, probe: Probe) -> None:
    """Try a narrowing before any training: every group without its last node.

    Raises:
        NodesError: a layer that is not declared reads a group (it is named), or the outputs are others.
    """
    try:
        size = max((float(x.abs().max()) for x in probe(module) if x.numel()), default=0.0)
    except Exception as error:
        raise NodesError(
            f"{type(module).__name__} could not be run on the first part of a batch ({error}); "
            "set its example_input_array"
        ) from error
    parts = norm_parts(module, nodes)
    masks = {group: _without_last(n, parts.get(group, 1)) for group, n in widths(module, nodes).items()}
    narrower = copy.deepcopy(module)
    narrow(narrower, nodes, masks)
    entered: list[str] = []
    for name, layer in narrower.named_modules():
        layer.register_forward_pre_hook(lambda *_, name=name: entered.append(name))
    try:
        narrow_outputs = probe(narrower)
    except Exception as error:
        raise NodesError(
            f"layer {entered[-1]!r}: reads pruned nodes and is not declared so ({error}); add it to reads, "
            "or to writes if it passes them on"
        ) from error
    written = [module.get_submodule(name) for names in nodes.writes.values() for name in names]
    if any(mixes_nodes(layer) for layer in written):
        return
    for a, b in zip(probe(module, masked_state(module, nodes, masks)), narrow_outputs, strict=True):
        if a.shape != b.shape or (a.numel() and float((a - b).abs().max()) > TOLERANCE * max(size, 1.0)):
            raise NodesError(
                "the declared nodes do not describe the module: without the last node of each group its "
                "outputs are not those of the masked module; check the order of reads and the tied layers"
            )


def _without_last(width: int, parts: int) -> Tensor:
    """(width,) mask without the last node of each of the equal parts, unless it is the only one."""
    each = width // parts
    return (torch.arange(width) % max(1, each)) < max(1, each - 1)


def macs(module: nn.Module, probe: Probe) -> int:
    """Multiply-accumulates of linear layers and convolutions for one element of the probe's batch."""
    counts: list[int] = []

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        fan_in = layer.weight[0].numel() if output.numel() else 0  # type: ignore[index]
        counts.append(output[0].numel() * fan_in)

    hooks = [m.register_forward_hook(count) for m in module.modules() if isinstance(m, READERS)]
    try:
        probe(module)
    finally:
        for hook in hooks:
            hook.remove()
    return sum(counts)
