"""Node importance, Eq. 10, and the scales on which layers are compared."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mer_lightning.pnao.layers import NORMS, Columns, NodesError, axes
from mer_lightning.pnao.nodes import Nodes, block, widths

SCALES = ("none", "layer", "lamp")


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
    weightless = (*NORMS, Columns)
    return {g: [x.weight for x in found if not isinstance(x, weightless)] for g, found in layers.items()}  # type: ignore[misc]


def weight_importance(module: nn.Module, nodes: Nodes, trainer: Any = None) -> dict[str, Tensor]:
    """Group -> (width,) importance by Eq. 10; of tied nodes the mean over the tied layers.

    Of inputs (``Columns``), which no weight writes, the mean over what reads them: Eq. 10 on columns.

    The criterion that PNAO takes by default; ``trainer`` is there for criteria that need data.
    """
    importances = {}
    for group, names in nodes.writes.items():
        layers = [module.get_submodule(name) for name in names]
        if isinstance(layers[0], Columns):
            importances[group] = column_importance(module, nodes, group)
            continue
        weights = [(x.get_parameter("weight"), axes(x)["weight"]) for x in layers if not isinstance(x, NORMS)]
        members = [node_importance(weight.movedim(axis.nodes or 0, 0)) for weight, axis in weights]
        importances[group] = sum(members[1:], members[0]) / len(members)
    return importances


def column_importance(module: nn.Module, nodes: Nodes, group: str) -> Tensor:
    """(width,) mean absolute weight of the columns that read a group's nodes, over all that reads them."""
    here, found = widths(module, nodes), []
    for name, sources in nodes.reads.items():
        blocks = [block(source) for source in sources]
        if group in dict(blocks):
            by_column = node_importance(module.get_parameter(f"{name}.weight").movedim(1, 0))
            sizes = [k if g is None else here[g] * k for g, k in blocks]
            parts = torch.split(by_column, sizes)
            found += [
                x.view(-1, k).mean(dim=1) for (g, k), x in zip(blocks, parts, strict=True) if g == group
            ]
    return torch.stack(found).mean(dim=0)


def check_importances(module: nn.Module, nodes: Nodes, importances: Mapping[str, Tensor]) -> None:
    """NodesError unless a criterion gave a finite number, 0 or more, for each node of each group."""
    if not isinstance(importances, Mapping):
        raise NodesError(f"the criterion gave a {type(importances).__name__}, not {{group: importance}}")
    for group, count in widths(module, nodes).items():
        g = importances.get(group)
        expected = (
            f"group {group!r}: expected a Tensor ({count},) of importances, finite and 0 or more, found"
        )
        if not isinstance(g, Tensor):
            raise NodesError(f"{expected} {'none' if g is None else f'a {type(g).__name__}'}")
        fine = g.isfinite() & (g >= 0)
        if g.shape != (count,) or not fine.all():
            raise NodesError(f"{expected} {tuple(g.shape)}, {int(fine.sum())} of them such")


def scaled(importances: Mapping[str, Tensor], scale: str) -> dict[str, Tensor]:
    """Importances on one scale, so that layers of different fan-in can be compared.

    ``none``: as they are, Eq. 11 to the letter. ``layer``: each group's divided by its mean. ``lamp``: see
    ``lamp``; the highest of each group has 1, the i-th of equals 1/i: rate k leaves about 1/k nodes of each.
    """
    if scale == "none":
        return dict(importances)
    if scale == "lamp":
        return {group: lamp(g) for group, g in importances.items()}
    return {group: g / g.mean().clamp_min(1e-38) if g.numel() else g for group, g in importances.items()}


def lamp(importance: Tensor) -> Tensor:
    """``g(j)^2 / sum of g(i)^2``, over the i not before j in ascending order (after Lee et al., ICLR 2021).

    >>> lamp(torch.tensor([1.0, 1.0, 2.0]))
    tensor([0.1667, 0.2000, 1.0000])
    """
    ascending, order = importance.double().square().sort(stable=True)
    tails = ascending.flip(0).cumsum(0).flip(0)
    scores = torch.empty_like(ascending)
    scores[order] = ascending / tails.clamp_min(1e-38)
    return scores.to(importance.dtype)
