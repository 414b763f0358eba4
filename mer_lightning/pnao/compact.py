"""Physical removal: a masked module becomes a narrower one with the same outputs."""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from mer_lightning.pnao.layers import CONVOLUTIONS, NORMS, Axes, NodesError, axes, replace, resize
from mer_lightning.pnao.nodes import Nodes, block, declared, norm_parts, widths

M = TypeVar("M", bound=nn.Module)


class Kept(NamedTuple):
    """Of one layer: the indices of the nodes and of the inputs that stay; None means all."""

    nodes: Tensor | None
    inputs: Tensor | None


def kept_in(nodes: Nodes, masks: Mapping[str, Tensor]) -> dict[str, Kept]:
    """What stays of each layer that the nodes touch.

    Args:
        masks: group -> (width,) bool.
    """
    here = {group: mask.cpu() for group, mask in masks.items()}
    rows = {name: here[group] for group, names in nodes.writes.items() for name in names}
    columns = {name: torch.cat([_mask(s, here) for s in sources]) for name, sources in nodes.reads.items()}
    return {name: Kept(_index(rows.get(name)), _index(columns.get(name))) for name in {**rows, **columns}}


def _mask(source: str | int | tuple[str, int], masks: Mapping[str, Tensor]) -> Tensor:
    group, count = block(source)
    return masks[group].repeat_interleave(count) if group is not None else torch.ones(count, dtype=torch.bool)


def _index(mask: Tensor | None) -> Tensor | None:
    return None if mask is None or bool(mask.all()) else mask.nonzero().squeeze(1)


def take(tensor: Tensor, axes: Axes, kept: Kept, like: Tensor) -> Tensor:
    """A copy of what stays of a layer's tensor ``like``, or of the optimizer's state for it.

    An axis of another size (Adam's count of steps has none, Adafactor's means over rows one of 1) is kept.
    """
    part = tensor
    for axis, index in ((axes.nodes, kept.nodes), (axes.inputs, kept.inputs)):
        if axis is None or index is None or tensor.ndim <= axis:
            continue
        if tensor.shape[axis] == like.shape[axis]:
            part = part.index_select(axis, index.to(tensor.device))
    return tensor.clone() if part is tensor else part


@torch.no_grad()
def narrow(module: nn.Module, nodes: Nodes, masks: Mapping[str, Tensor]) -> None:
    """Remove the masked nodes in place: fresh, smaller parameters, and the layers' own sizes with them.

    Between fits only: an optimizer would keep the parameters that are replaced.
    """
    for name, kept in kept_in(nodes, masks).items():
        layer = module.get_submodule(name)
        for tensor, its_axes in axes(layer).items():
            value = getattr(layer, tensor).detach()
            replace(layer, tensor, take(value, its_axes, kept, value))
        resize(layer, *(None if index is None else len(index) for index in kept))


@contextmanager
def narrow_while(module: nn.Module, nodes: Nodes, masks: Mapping[str, Tensor]) -> Iterator[None]:
    """Narrow ``module`` for the block, then give it back its own parameters and sizes."""
    layers = [module.get_submodule(name) for name in kept_in(nodes, masks)]
    before = [
        layer.__dict__ | {"_parameters": dict(layer._parameters), "_buffers": dict(layer._buffers)}
        for layer in layers
    ]
    try:
        narrow(module, nodes, masks)
        yield
    finally:
        for layer, attributes in zip(layers, before, strict=True):
            layer.__dict__.update(attributes)


def compact(module: M, masks: Mapping[str, Tensor], nodes: Nodes | None = None) -> M:
    """A narrower copy without the masked nodes: same outputs as the masked module.

    Args:
        module: left as it is.
        masks: group -> (width,) bool, True where the node stays.
        nodes: None: the module's own ``node_groups()``.

    Raises:
        NodesError: the nodes do not fit the module, or the masks not the nodes.

    >>> net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    >>> compact(net, {"0": torch.tensor([True, False, True, False])}, chain("0", "2"))[2]
    Linear(in_features=2, out_features=2, bias=True)
    """
    nodes = declared(module, nodes)
    check_masks(module, nodes, masks)
    narrower = copy.deepcopy(module)
    narrow(narrower, nodes, masks)
    return narrower


def check_masks(module: nn.Module, nodes: Nodes, masks: Mapping[str, Tensor]) -> None:
    """NodesError unless there is a mask of the right kind and size for each group."""
    if not isinstance(masks, Mapping):
        raise NodesError(f"the rule gave a {type(masks).__name__}, not {{group: mask}}")
    for group, count in widths(module, nodes).items():
        mask = masks.get(group)
        expected = f"group {group!r}: expected a bool mask of shape ({count},), found"
        if not isinstance(mask, Tensor):
            raise NodesError(f"{expected} {'none' if mask is None else f'a {type(mask).__name__}'}")
        if mask.dtype != torch.bool or mask.shape != (count,):
            raise NodesError(f"{expected} {mask.dtype} {tuple(mask.shape)}")
        convolution = any(isinstance(module.get_submodule(x), CONVOLUTIONS) for x in nodes.writes[group])
        if convolution and not mask.any():
            raise NodesError(f"group {group!r}: a convolution needs a node; keep one (min_width=1)")
    for group, parts in norm_parts(module, nodes).items():
        if len(set(masks[group].view(parts, -1).sum(dim=1).tolist())) > 1:
            raise NodesError(
                f"group {group!r}: the mask must keep as many nodes in each of its GroupNorm's {parts} parts"
            )
    if unknown := sorted(set(masks) - set(nodes.writes)):
        raise NodesError(f"a mask for {unknown[0]!r}, which is not a group")


def masked_state(module: nn.Module, nodes: Nodes, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state of the touched layers, masked nodes at zero: weights, biases, and columns that read them."""
    state: dict[str, Tensor] = {}
    for name, kept in kept_in(nodes, masks).items():
        layer = module.get_submodule(name)
        for tensor, its_axes in axes(layer).items():
            value = state[f"{name}.{tensor}"] = getattr(layer, tensor).detach().clone()
            for axis, index in ((its_axes.nodes, kept.nodes), (its_axes.inputs, kept.inputs)):
                if axis is not None and index is not None and tensor in ("weight", "bias"):
                    gone = torch.ones(value.shape[axis], dtype=torch.bool, device=value.device)
                    gone[index.to(value.device)] = False
                    value.index_fill_(axis, gone.nonzero().squeeze(1), 0)
    return state


def fit_widths(module: nn.Module, state: Mapping[str, Tensor], nodes: Nodes | None = None) -> None:
    """Narrow ``module`` to the widths of a saved state, so that it can be loaded.

    For a module's ``on_load_checkpoint``: Lightning calls it before it loads the weights.

    Args:
        state: a state dict, such as ``checkpoint["state_dict"]``.

    Raises:
        NodesError: the state is wider than the module, or lacks a layer.
    """
    nodes = declared(module, nodes)
    masks = {}
    for group, count in widths(module, nodes).items():
        name = next(x for x in nodes.writes[group] if not isinstance(module.get_submodule(x), NORMS))
        tensor, its_axes = next(iter(axes(module.get_submodule(name)).items()))
        axis = its_axes.nodes or 0
        saved = state.get(f"{name}.{tensor}")
        if saved is None or saved.shape[axis] > count:
            raise NodesError(
                f"layer {name!r}: the saved state has no {tensor} of at most {count} nodes for it"
            )
        masks[group] = torch.arange(count) < saved.shape[axis]
    narrow(module, nodes, masks)


def prunable_parameters(module: nn.Module, nodes: Nodes, widths: Mapping[str, int]) -> int:
    """Parameters of all layers that the nodes touch, if the groups had these ``widths``."""
    rows = {name: widths[group] for group, names in nodes.writes.items() for name in names}
    columns = {
        name: sum(widths[group] * k if group is not None else k for group, k in map(block, sources))
        for name, sources in nodes.reads.items()
    }
    total = 0
    for name in {**rows, **columns}:
        layer = module.get_submodule(name)
        for tensor, (row, column) in axes(layer).items():
            if tensor in dict(layer.named_parameters(recurse=False)):
                sizes = list(getattr(layer, tensor).shape)
                for axis, size in ((row, rows.get(name)), (column, columns.get(name))):
                    if axis is not None and size is not None:
                        sizes[axis] = size
                total += torch.Size(sizes).numel()
    return total
