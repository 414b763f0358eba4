"""The hierarchical network: one branch per acoustic level, decisions fused (Fig. 1 of the paper)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mer_lightning.fusion import fuse_log_posteriors, make_fusion
from mer_lightning.network.decoder import JointDecoder
from mer_lightning.network.gathering import Gathering
from mer_lightning.network.groups import Consumer, NodeGroup


@dataclass(frozen=True)
class Architecture:
    """A network as data: enough to build it, before its weights are loaded.

    levels, shared: feature set -> input dimension. widths: node group -> width, for the groups that
    pruning has narrowed; a group not named has its full width (D, or 2 D for first hidden layers).
    """

    levels: dict[str, int]
    shared: dict[str, int]
    classes: int
    dimension: int = 128
    dropout: float = 0.3
    softmax: bool = True
    fusion: str = "entropy"
    fusion_weights: tuple[float, ...] = ()
    widths: dict[str, int] = field(default_factory=dict)


class Decision(NamedTuple):
    """What the network says of B utterances, with M branches and C emotions."""

    log_posterior: Tensor  # (B, C), fused
    valence: Tensor  # (B,), fused
    weights: Tensor  # (B, M), of the branches
    branch_log_posteriors: Tensor  # (B, M, C)
    branch_valences: Tensor  # (B, M)


class Branch(nn.Module):
    """Gathering and joint decoder of one acoustic level."""

    def __init__(self, gathering: Gathering, decoder: JointDecoder) -> None:
        super().__init__()
        self.gathering = gathering
        self.decoder = decoder

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Feature sets (B, D_s) -> h (B, D), emotion logits (B, C), valence (B,)."""
        h = self.gathering(features)
        return (h, *self.decoder(h))


class HierarchicalNetwork(nn.Module):
    """M branches over standardised features, fused into one decision."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.sets = [(level, *architecture.shared) for level in architecture.levels]
        self.branches = nn.ModuleList(self._branch(level) for level in architecture.levels)
        gathered = [self._width(f"{level}/gathered", 1) for level in architecture.levels]
        self.fusion = make_fusion(architecture.fusion, gathered, architecture.fusion_weights)

    def _width(self, group: str, multiple: int) -> int:
        return self.architecture.widths.get(group, multiple * self.architecture.dimension)

    def _branch(self, level: str) -> Branch:
        a = self.architecture
        inputs = {level: a.levels[level], **a.shared}
        gathered = self._width(f"{level}/gathered", 1)
        gathering = Gathering(
            inputs=list(inputs.values()),
            hidden=[self._width(f"{level}/encoder/{name}", 2) for name in inputs],
            gathered=gathered,
            attention=(self._width(f"{level}/attention_1", 2), self._width(f"{level}/attention_2", 1)),
            dropout=a.dropout,
            softmax=a.softmax,
        )
        return Branch(gathering, JointDecoder(gathered, a.classes))

    def forward(self, features: Mapping[str, Tensor]) -> Decision:
        """Feature set -> (B, D_s), standardised -> the decision for each of the B utterances."""
        gathered, logits, valences = [], [], []
        for branch, sets in zip(self.branches, self.sets, strict=True):
            h, branch_logits, branch_valence = branch([features[name] for name in sets])
            gathered.append(h)
            logits.append(branch_logits)
            valences.append(branch_valence)
        log_posteriors = torch.log_softmax(torch.stack(logits, dim=1), dim=-1)
        branch_valences = torch.stack(valences, dim=1)
        weights = self.fusion(log_posteriors, gathered)
        return Decision(
            log_posterior=fuse_log_posteriors(log_posteriors, weights),
            valence=(weights * branch_valences).sum(dim=-1),
            weights=weights,
            branch_log_posteriors=log_posteriors,
            branch_valences=branch_valences,
        )

    def node_groups(self) -> tuple[NodeGroup, ...]:
        """All hidden nodes. Scores, logits and valences are outputs, so no group has them."""
        groups: list[NodeGroup] = []
        fused_so_far = 0
        for index, level in enumerate(self.architecture.levels):
            branch = self._branch_groups(index, level, fused_so_far)
            fused_so_far += branch[-1].width
            groups += branch
        return tuple(groups)

    def _branch_groups(self, index: int, level: str, fused_offset: int) -> list[NodeGroup]:
        """The groups of one branch, the gathered nodes last."""
        gathering, decoder = f"branches.{index}.gathering", f"branches.{index}.decoder"
        sets = self.sets[index]
        gathered = self._width(f"{level}/gathered", 1)
        groups = [
            NodeGroup(
                f"{level}/encoder/{name}",
                self._width(f"{level}/encoder/{name}", 2),
                producers=(f"{gathering}.encoders.{s}.0",),
                consumers=(Consumer(f"{gathering}.encoders.{s}.3"),),
            )
            for s, name in enumerate(sets)
        ]
        readers = [Consumer(f"{decoder}.emotion"), Consumer(f"{decoder}.valence_hidden")]
        if len(sets) > 1:
            first, second = f"{level}/attention_1", f"{level}/attention_2"
            attention = [f"{gathering}.attention.0", f"{gathering}.attention.3", f"{gathering}.score"]
            groups += [
                NodeGroup(first, self._width(first, 2), (attention[0],), (Consumer(attention[1]),)),
                NodeGroup(second, self._width(second, 1), (attention[1],), (Consumer(attention[2]),)),
            ]
            readers += [Consumer(attention[0], s * gathered) for s in range(len(sets))]
        if self.architecture.fusion == "attention":
            readers.append(Consumer("fusion.score", fused_offset))
        tied = tuple(f"{gathering}.encoders.{s}.3" for s in range(len(sets)))
        return [*groups, NodeGroup(f"{level}/gathered", gathered, tied, tuple(readers))]

    def narrowed(self, widths: Mapping[str, int]) -> "HierarchicalNetwork":
        """A network of the same kind whose groups have ``widths``; its weights are not yet set."""
        with torch.device("meta"):  # no time spent on initial values that are about to be replaced
            network = HierarchicalNetwork(replace(self.architecture, widths=dict(widths)))
        return network.to_empty(device=next(self.parameters()).device)


def prunable_weights(network: HierarchicalNetwork) -> list[nn.Parameter]:
    """The weight matrices whose rows are hidden nodes: what the sparse term of Eq. 8 sums over."""
    return [network.get_submodule(p).weight for g in network.node_groups() for p in g.producers]  # type: ignore[misc]


def count_parameters(network: nn.Module) -> int:
    """Trainable numbers in the network."""
    return sum(p.numel() for p in network.parameters())


def count_macs(network: nn.Module) -> int:
    """Multiply-accumulates of the linear layers for one utterance."""
    return sum(m.in_features * m.out_features for m in network.modules() if isinstance(m, nn.Linear))


def count_nodes(network: HierarchicalNetwork) -> int:
    """Hidden nodes; tied ones count once."""
    return sum(group.width for group in network.node_groups())
