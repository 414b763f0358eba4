"""Node importance, Eq. 10, and the scales on which layers are compared."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from mer_lightning.pnao.layers import NORMS, NodesError, axes
from mer_lightning.pnao.nodes import Nodes, widths

SCALES = ("none", "layer")


def node_importance(weight: Tensor) -> Tensor:
    """Importance of a layer's nodes, Eq. 10: ``g(j) = mean over n of |W(j, n)|``.

    Args:
        weight: (out, in, ...), one row per node; the bias does not count.

    Returns:
        (out,), each >= 0; zero for a layer without inputs.

    >>> node_importance(torch.tensor([[1.0, -3.0], [0.0, 0.5]]))
    tensor([2.0000, 0.2500])
    """
    rows = weight.detach().abs().flatten(1)
    return rows.mean(dim=1) if rows.shape[1] else rows.new_zeros(len(rows))


def weights_of(module: nn.Module, nodes: Nodes) -> dict[str, list[nn.Parameter]]:
    """Group -> the weights whose rows are its nodes; normalisations do not count."""
    layers = {g: [module.get_submodule(name) for name in names] for g, names in nodes.writes.items()}
    return {g: [x.weight for x in found if not isinstance(x, NORMS)] for g, found in layers.items()}  # type: ignore[misc]


def weight_importance(module: nn.Module, nodes: Nodes, trainer: Any = None) -> dict[str, Tensor]:
    """Group -> (width,) importance by Eq. 10; of tied nodes the mean over the tied layers.

    The criterion that PNAO takes by default; ``trainer`` is there for criteria that need data.
    """
    importances = {}
    for group, names in nodes.writes.items():
        layers = [module.get_submodule(name) for name in names]
        weights = [(x.get_parameter("weight"), axes(x)["weight"]) for x in layers if not isinstance(x, NORMS)]
        members = [node_importance(weight.movedim(axis.nodes or 0, 0)) for weight, axis in weights]
        importances[group] = sum(members[1:], members[0]) / len(members)
    return importances


def check_importances(module: nn.Module, nodes: Nodes, importances: Mapping[str, Tensor]) -> None:
    """NodesError unless a criterion gave a finite number for each node of each group."""
    for group, count in widths(module, nodes).items():
        g = importances.get(group)
        if g is None or g.shape != (count,) or not g.isfinite().all():
            found = "none" if g is None else f"{tuple(g.shape)}, {int(g.isfinite().sum())} of them finite"
            raise NodesError(f"group {group!r}: expected ({count},) finite importances, found {found}")


def scaled(importances: Mapping[str, Tensor], scale: str) -> dict[str, Tensor]:
    """Importances on one scale, so that layers of different fan-in can be compared.

    ``none``: as they are, Eq. 11 to the letter. ``layer``: each group's divided by its mean.
    """
    if scale == "none":
        return dict(importances)
    return {group: g / g.mean().clamp_min(1e-38) if g.numel() else g for group, g in importances.items()}
