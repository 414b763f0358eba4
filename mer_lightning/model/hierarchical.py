"""The hierarchical network: one branch per acoustic level, decisions fused (Fig. 1 of the paper)."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mer_lightning.model.base import Architecture, Decision, EmotionNetwork
from mer_lightning.model.decoder import JointDecoder
from mer_lightning.model.fusion import fuse_log_posteriors, make_fusion
from mer_lightning.model.gathering import Gathering
from mer_lightning.model.groups import Consumer, NodeGroup


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


class HierarchicalNetwork(EmotionNetwork):
    """M branches over standardised features, fused into one decision."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__(architecture)
        self.sets = [(level, *architecture.shared) for level in architecture.levels]
        self.branches = nn.ModuleList(self._branch(level) for level in architecture.levels)
        gathered = [self._width(f"{level}/gathered", 1) for level in architecture.levels]
        self.fusion = make_fusion(architecture.fusion, gathered, architecture.fusion_weights)

    @property
    def branch_names(self) -> tuple[str, ...]:
        """The acoustic levels, one branch each."""
        return tuple(self.architecture.levels)

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
        return self._fuse(log_posteriors, branch_valences, gathered)

    def _fuse(self, log_posteriors: Tensor, valences: Tensor, gathered: Sequence[Tensor]) -> Decision:
        """The branches' (B, M, C), (B, M) and M times (B, D_i) -> one decision."""
        p, v = log_posteriors, valences
        if self.fusion_learns_alone:
            p, v, gathered = p.detach(), v.detach(), [h.detach() for h in gathered]
        weights = self.fusion(p, gathered)
        return Decision(
            log_posterior=fuse_log_posteriors(p, weights),
            valence=(weights * v).sum(dim=-1),
            weights=weights,
            branch_log_posteriors=log_posteriors,
            branch_valences=valences,
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
