"""The hierarchical network: one branch per acoustic level, decisions fused (Fig. 1 of the paper)."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mer_lightning.config.registry import FUSIONS
from mer_lightning.model.base import Architecture, Decision, EmotionNetwork
from mer_lightning.model.decoder import JointDecoder
from mer_lightning.model.fusion import check_fusion, fuse_log_posteriors
from mer_lightning.model.gathering import Gathering
from mer_lightning.model.missing import present, weights_of_present
from mer_lightning.pnao.nodes import Nodes, Source


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


class Branches(NamedTuple):
    """What M branches say of B utterances, before they are fused."""

    log_posteriors: Tensor  # (B, M, C)
    valences: Tensor  # (B, M)
    gathered: Sequence[Tensor]  # M times (B, D_i)
    there: Tensor | None = None  # (B, M) bool, which branches have an input; None: all


class HierarchicalNetwork(EmotionNetwork):
    """M branches over standardised features, fused into one decision."""

    temperatures: Tensor | None  # (M,), of the branches in the fusion; None: not calibrated

    def __init__(self, architecture: Architecture) -> None:
        super().__init__(architecture)
        self.sets = [(level, *architecture.shared) for level in architecture.levels]
        self.branches = nn.ModuleList(self._branch(level) for level in architecture.levels)
        self.fusion = FUSIONS.make(architecture.fusion, widths=self._gathered(), **architecture.options)
        self.register_buffer("temperatures", torch.ones(len(self.sets)) if architecture.calibrated else None)

    @property
    def branch_names(self) -> tuple[str, ...]:
        """The acoustic levels, one branch each."""
        return tuple(self.built_as.levels)

    def check_fusion(self) -> None:
        """A UserError where the fusion, a plugin's perhaps, gives no weights of the branches."""
        check_fusion(self.fusion, self._gathered(), self.built_as.classes, self.built_as.fusion)

    def _gathered(self) -> list[int]:
        """The M widths D_i."""
        return [self._width(f"{level}/gathered", 1) for level in self.built_as.levels]

    def _width(self, group: str, multiple: int) -> int:
        return self.built_as.widths.get(group, multiple * self.built_as.dimension)

    def _branch(self, level: str) -> Branch:
        a = self.built_as
        inputs = {level: a.levels[level], **a.shared}
        gathered = self._width(f"{level}/gathered", 1)
        gathering = Gathering(
            inputs=list(inputs.values()),
            hidden=[self._width(f"{level}/encoder/{name}", 2) for name in inputs],
            gathered=gathered,
            attention=(self._width(f"{level}/attention_1", 2), self._width(f"{level}/attention_2", 1)),
            dropout=a.dropout,
            softmax=a.softmax,
            columns=[a.widths.get(f"{level}/input/{name}", d) for name, d in inputs.items()]
            if a.inputs
            else None,
        )
        return Branch(gathering, JointDecoder(gathered, a.classes))

    def forward(self, features: Mapping[str, Tensor]) -> Decision:
        """Feature set -> (B, D_s), standardised -> the decision for each of the B utterances."""
        return self.fuse(self.decide(features))

    def decide(self, features: Mapping[str, Tensor]) -> Branches:
        """Feature set -> (B, D_s), standardised -> what each branch says by itself."""
        gathered, logits, valences = [], [], []
        for branch, sets in zip(self.branches, self.sets, strict=True):
            h, branch_logits, branch_valence = branch([features[name] for name in sets])
            gathered.append(h)
            logits.append(branch_logits)
            valences.append(branch_valence)
        log_posteriors = torch.log_softmax(torch.stack(logits, dim=1), dim=-1)
        return Branches(log_posteriors, torch.stack(valences, dim=1), gathered, self._there(features))

    def _there(self, features: Mapping[str, Tensor]) -> Tensor | None:
        """(B, M): which branches have any of their feature sets; None with one branch: it decides anyway."""
        if len(self.sets) == 1:
            return None
        found = {name: present(x) for name, x in features.items()}
        return torch.stack([torch.stack([found[n] for n in sets]).any(dim=0) for sets in self.sets], dim=-1)

    def fuse(self, branches: Branches, temperatures: Tensor | None = None) -> Decision:
        """One decision from the branches'.

        Args:
            temperatures: (M,), of the branches' posteriors; None: the network's own, if it is calibrated.
        """
        log_posteriors, valences, gathered, there = branches
        p, v = log_posteriors, valences
        if self.fusion_learns_alone:
            p, v, gathered = p.detach(), v.detach(), [h.detach() for h in gathered]
        temperatures = self.temperatures if temperatures is None else temperatures
        if temperatures is not None:
            p = torch.log_softmax(p / temperatures.unsqueeze(-1), dim=-1)
        weights = self.fusion(p, gathered)
        if there is not None:
            weights = weights_of_present(weights, there)
        return Decision(
            log_posterior=fuse_log_posteriors(p, weights),
            valence=(weights * v).sum(dim=-1),
            weights=weights,
            branch_log_posteriors=log_posteriors,
            branch_valences=valences,
        )

    def node_groups(self) -> Nodes:
        """All hidden nodes. Scores, logits and valences are outputs, so no group has them."""
        writes: dict[str, Sequence[str]] = {}
        reads: dict[str, Sequence[Source]] = {}
        for index, level in enumerate(self.built_as.levels):
            branch = self._branch_nodes(index, level)
            writes |= branch.writes
            reads |= branch.reads
        for layer in getattr(self.fusion, "reads_gathered", ()):
            reads[f"fusion.{layer}"] = [f"{level}/gathered" for level in self.built_as.levels]
        return Nodes(writes, reads)

    def _branch_nodes(self, index: int, level: str) -> Nodes:
        """The nodes of one branch: its encoders' and its attention's, and the gathered ones they end in."""
        gathering, decoder = f"branches.{index}.gathering", f"branches.{index}.decoder"
        gathered, first, second = (f"{level}/{name}" for name in ("gathered", "attention_1", "attention_2"))
        writes: dict[str, Sequence[str]] = {}
        reads: dict[str, Sequence[Source]] = {
            f"{decoder}.{x}": [gathered] for x in ("emotion", "valence_hidden")
        }
        for s, name in enumerate(self.sets[index]):
            writes[f"{level}/encoder/{name}"] = [f"{gathering}.encoders.{s}.0"]
            reads[f"{gathering}.encoders.{s}.3"] = [f"{level}/encoder/{name}"]
            if self.built_as.inputs:
                writes[f"{level}/input/{name}"] = [f"{gathering}.columns.{s}"]
                reads[f"{gathering}.encoders.{s}.0"] = [f"{level}/input/{name}"]
        sets = len(self.sets[index])
        if sets > 1:
            writes |= {first: [f"{gathering}.attention.0"], second: [f"{gathering}.attention.3"]}
            reads[f"{gathering}.attention.0"] = [gathered] * sets
            reads |= {f"{gathering}.attention.3": [first], f"{gathering}.score": [second]}
        writes[gathered] = [f"{gathering}.encoders.{s}.3" for s in range(sets)]  # summed, so they are tied
        return Nodes(writes, reads)
