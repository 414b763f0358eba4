"""Removing nodes: ours against Torch-Pruning, which finds out by tracing what ours is told."""

import copy
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from experiments.bench.measure import Figure, Scale, Side, interleaved, medians, ratio, timed
from mer_lightning.errors import UserError, optional
from mer_lightning.model.base import Architecture, Decision, EmotionNetwork
from mer_lightning.model.gathering import hidden_layers
from mer_lightning.pnao import Nodes, chain, compact, global_masks, node_importance, weight_importance
from mer_lightning.pnao.nodes import widths

WIDTHS = (256, 256, 256, 128)  # of the hidden layers, over 1024 inputs
RATE = 0.5  # k of Eq. 11: about half of the nodes of ``uneven`` weights


class PlainNetwork(EmotionNetwork):
    """Hidden layers one after another over one feature set, and a layer of classes."""

    branch_names = ("plain",)

    def __init__(self, architecture: Architecture) -> None:
        super().__init__(architecture)
        (inputs,) = architecture.levels.values()
        self.body = hidden_layers((inputs, *WIDTHS), 0.0)
        self.head = nn.Linear(WIDTHS[-1], architecture.classes)

    def logits(self, x: Tensor) -> Tensor:
        """(B, D) -> (B, C)."""
        return self.head(self.body(x))

    def forward(self, features: Mapping[str, Tensor]) -> Decision:
        """The decision of the only branch; it knows no valence."""
        (x,) = features.values()
        log_posterior = torch.log_softmax(self.logits(x), dim=-1)
        nothing, all_of_it = x.new_zeros(len(x)), x.new_ones(len(x), 1)
        return Decision(log_posterior, nothing, all_of_it, log_posterior[:, None], nothing[:, None])

    def node_groups(self) -> Nodes:
        """One group for each hidden layer; the layer after it reads it."""
        return chain(*(f"body.{3 * i}" for i in range(len(WIDTHS))), "head")


def torch_pruning_ratio(scale: Scale) -> list[Figure]:
    """Torch-Pruning's time over ours to find and remove the same nodes of a plain network of 5 layers.

    Both start from a network and end with a narrower one; Torch-Pruning gets our importance and the number
    of nodes that Eq. 11 removes. That both give the same outputs is checked.
    """
    name = "torch_pruning_ratio"
    try:
        optional("torch_pruning", "torch-pruning==1.6.*")
    except UserError as error:
        return [Figure(name, None, 10.0, higher=True, skipped=str(error))]
    torch.manual_seed(0)
    network = uneven(PlainNetwork(Architecture({"x": 1024}, {}, classes=6, kind="plain")).eval())
    x = torch.randn(8, 1024)
    narrow = ours(network)
    left = list(widths(narrow, narrow.node_groups()).values())
    share = (sum(WIDTHS) - sum(left) - 0.5) / sum(WIDTHS)  # it rounds up to whole nodes
    other = theirs(network, share, x)()
    if (narrow.logits(x) - other.logits(x)).abs().max() > 1e-5 * narrow.logits(x).abs().max():
        raise RuntimeError("the two ways removed different nodes: their times cannot be compared")
    times = interleaved(
        {"torch-pruning": _fresh(network, share, x), "ours": timed(lambda: ours(network), 10)},
        10 * scale.repeats,
        warmup=3,
    )
    details = {"seconds": medians(times), "nodes removed": round(share, 3), "widths": left}
    return [Figure(name, ratio(times["torch-pruning"], times["ours"]), 10.0, higher=True, details=details)]


@torch.no_grad()
def uneven(network: PlainNetwork) -> PlainNetwork:
    """The network with hidden nodes of importance 0 to 1: those of fresh weights are all alike."""
    for i in range(len(WIDTHS)):
        weight = network.get_parameter(f"body.{3 * i}.weight")
        weight *= (torch.rand(len(weight)) / node_importance(weight))[:, None]
    return network


def ours(network: PlainNetwork) -> PlainNetwork:
    """Importance, masks, compaction."""
    return compact(network, global_masks(weight_importance(network, network.node_groups()), RATE))


def theirs(network: PlainNetwork, share: float, x: Tensor) -> Callable[[], PlainNetwork]:
    """The same by Torch-Pruning on a copy, which is made before the work that is measured."""
    tp = optional("torch_pruning", "torch-pruning==1.6.*")
    narrow = copy.deepcopy(network)

    def work() -> PlainNetwork:
        tp.pruner.BasePruner(
            narrow,
            {"x": x},
            importance=lambda group: node_importance(group[0].dep.target.module.weight),
            global_pruning=True,
            pruning_ratio=share,
            ignored_layers=[narrow.head],
            forward_fn=lambda model, inputs: model.logits(inputs["x"]),
        ).step()
        return narrow

    return work


def _fresh(network: PlainNetwork, share: float, x: Tensor) -> Side:
    """A side that copies the network untimed, because Torch-Pruning changes it in place."""
    return lambda: timed(theirs(network, share, x))()
