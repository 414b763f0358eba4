"""What a layer must be to have nodes removed: which axes of its tensors are its nodes and its inputs."""

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.utils.parametrize import is_parametrized


class Columns(nn.Module):
    """Passes on some columns of its input (..., inputs), all at first: so inputs can be pruned like nodes.

    A layer without weights: it is the writer of a group whose importance is that of the columns that read it.
    """

    kept: Tensor  # (width,) indices into the input

    def __init__(self, inputs: int, width: int | None = None) -> None:
        super().__init__()
        self.inputs = inputs
        self.register_buffer("kept", torch.arange(inputs if width is None else width))

    def forward(self, x: Tensor) -> Tensor:
        """(..., inputs) -> (..., width)."""
        return x if len(self.kept) == self.inputs else x.index_select(-1, self.kept)


CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMS = (_NormBase, nn.LayerNorm, nn.RMSNorm, nn.GroupNorm)  # _NormBase: BatchNorm, InstanceNorm
READERS = (nn.Linear, *CONVOLUTIONS)
PRUNABLE = (*READERS, *NORMS, nn.Embedding, Columns)


class NodesError(ValueError):
    """A declaration of nodes that does not fit its module."""


class Axes(NamedTuple):
    """The axes of a tensor that count the layer's nodes and its inputs; None: no such axis."""

    nodes: int | None
    inputs: int | None


def axes(layer: nn.Module) -> dict[str, Axes]:
    """Name -> axes of each of the layer's tensors (buffers with them) that narrows with the layer."""
    if isinstance(layer, Columns):
        return {"kept": Axes(0, None)}
    if isinstance(layer, nn.Embedding):
        found = {"weight": Axes(1, None)}
    elif isinstance(layer, NORMS) or is_depthwise(layer):
        found = {name: Axes(0, None) for name in ("weight", "bias", "running_mean", "running_var")}
    else:
        found = {"weight": Axes(0, 1), "bias": Axes(0, None)}
    return {name: a for name, a in found.items() if getattr(layer, name, None) is not None}


def is_depthwise(layer: nn.Module) -> bool:
    """Whether a convolution handles each channel by itself, so that its nodes are those of its input."""
    return isinstance(layer, CONVOLUTIONS) and layer.groups == layer.in_channels == layer.out_channels > 1


def mixes_nodes(layer: nn.Module) -> bool:
    """Whether a normalisation takes its statistics over several nodes, so that removing some changes them."""
    return isinstance(layer, nn.LayerNorm | nn.RMSNorm) or (
        isinstance(layer, nn.GroupNorm) and layer.num_groups < layer.num_channels
    )


def width(layer: nn.Module) -> int:
    """How many nodes the layer has: output features, channels, or embedding dimensions."""
    match layer:
        case nn.Linear():
            return layer.out_features
        case nn.Conv1d() | nn.Conv2d() | nn.Conv3d():
            return layer.out_channels
        case nn.Embedding():
            return layer.embedding_dim
        case Columns():
            return len(layer.kept)
        case nn.LayerNorm() | nn.RMSNorm():
            return layer.normalized_shape[0]
        case nn.GroupNorm():
            return layer.num_channels
        case _:
            return cast(_NormBase, layer).num_features


def columns(layer: nn.Module) -> int:
    """How many inputs a linear layer or a convolution reads: features, or channels."""
    return layer.in_features if isinstance(layer, nn.Linear) else cast(nn.Conv2d, layer).in_channels


def resize(layer: nn.Module, nodes: int | None, inputs: int | None) -> None:
    """Set the layer's own numbers to its tensors' new sizes; None: as it is."""
    if isinstance(layer, nn.GroupNorm) and nodes is not None:
        layer.num_groups = max(1, min(layer.num_groups, nodes))  # no more groups than nodes
    for names, size in ((_node_attributes(layer), nodes), (_input_attributes(layer), inputs)):
        for name in names if size is not None else ():
            setattr(layer, name, (size,) if name == "normalized_shape" else size)


def _node_attributes(layer: nn.Module) -> tuple[str, ...]:
    match layer:
        case nn.Linear():
            return ("out_features",)
        case nn.Embedding():
            return ("embedding_dim",)
        case Columns():
            return ()
        case nn.LayerNorm() | nn.RMSNorm():
            return ("normalized_shape",)
        case nn.GroupNorm():
            return ("num_channels",)
        case nn.Conv1d() | nn.Conv2d() | nn.Conv3d():
            return ("out_channels", "in_channels", "groups") if is_depthwise(layer) else ("out_channels",)
        case _:
            return ("num_features",)


def _input_attributes(layer: nn.Module) -> tuple[str, ...]:
    return ("in_features",) if isinstance(layer, nn.Linear) else ("in_channels",)


def check_layer(module: nn.Module, name: str, *, reads: bool) -> nn.Module:
    """The layer of that name. NodesError, by its name, if nodes cannot be removed from it (or its inputs)."""
    try:
        layer = module.get_submodule(name)
    except AttributeError as error:
        raise NodesError(f"layer {name!r}: the module has none of this name") from error
    kind, allowed = type(layer).__name__, READERS if reads else PRUNABLE
    if not isinstance(layer, allowed):
        what = "read pruned nodes" if reads else "have nodes removed"
        raise NodesError(
            f"layer {name!r}: a {kind} cannot {what}; {', '.join(c.__name__ for c in allowed)} can"
        )
    if isinstance(layer, Columns):
        return layer
    if is_parametrized(layer) or "weight" not in layer._parameters:  # weight_norm, prune
        raise NodesError(f"layer {name!r}: its weight is computed (parametrization); remove that first")
    if isinstance(getattr(layer, "weight", None), nn.parameter.UninitializedParameter):
        raise NodesError(f"layer {name!r}: a lazy layer without sizes; run a batch through the module first")
    if isinstance(layer, CONVOLUTIONS) and layer.groups > 1 and (reads or not is_depthwise(layer)):
        raise NodesError(
            f"layer {name!r}: a convolution of {layer.groups} groups; only depthwise ones can be pruned, "
            "as one of the layers in writes"
        )
    if isinstance(layer, nn.LayerNorm | nn.RMSNorm) and len(layer.normalized_shape) != 1:
        raise NodesError(f"layer {name!r}: a {kind} over {layer.normalized_shape}, expected one axis")
    return layer


@torch.no_grad()
def replace(layer: nn.Module, name: str, tensor: Tensor) -> None:
    """Put a fresh parameter, or a buffer, in the place of the one called ``name``."""
    old = getattr(layer, name)
    if isinstance(old, nn.Parameter):
        tensor = nn.Parameter(tensor, requires_grad=old.requires_grad)
    setattr(layer, name, tensor)
