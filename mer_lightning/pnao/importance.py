"""Node importance, Eq. 10."""

from torch import Tensor

from mer_lightning.model.base import EmotionNetwork


def node_importance(weight: Tensor) -> Tensor:
    """Importance of a layer's nodes, Eq. 10: ``g(j) = mean over n of |W(j, n)|``.

    Args:
        weight: (out, in), one row per node; the bias does not count.

    Returns:
        (out,), each >= 0; zero for a layer without inputs.
    """
    if weight.shape[1] == 0:
        return weight.new_zeros(weight.shape[0])
    return weight.detach().abs().mean(dim=1)


def group_importances(network: EmotionNetwork) -> dict[str, Tensor]:
    """Node group -> (width,) importance; of tied nodes the mean over the tied layers."""
    importances = {}
    for group in network.node_groups():
        members = [node_importance(network.get_parameter(f"{p}.weight")) for p in group.producers]
        importances[group.name] = sum(members[1:], members[0]) / len(members)
    return importances
