"""What every network of this program is: data that describes it, and the decision it makes."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from torch import Tensor, nn

from mer_lightning.model.decoder import JointDecoder
from mer_lightning.pnao.nodes import Nodes, widths


@dataclass(frozen=True)
class Architecture:
    """A network as data: enough to build it, before its weights are loaded.

    kind, fusion: their names; options: settings of their own, JSON values; plugins: key of such a name ->
    the module that registers the part. levels, shared: feature set -> input dimension. widths: node group ->
    width, for the groups that pruning has narrowed; a group not named has its full width (D, 2 D for first
    hidden layers, the set's dimension for inputs).
    """

    levels: dict[str, int]
    shared: dict[str, int]
    classes: int
    kind: str = "hierarchical"
    dimension: int = 128
    dropout: float = 0.3
    softmax: bool = True
    inputs: bool = False  # whether the feature sets' columns are nodes, too
    fusion: str = "entropy"
    calibrated: bool = False  # a temperature for each branch, fitted after training
    options: dict[str, Any] = field(default_factory=dict)
    plugins: dict[str, str] = field(default_factory=dict)
    widths: dict[str, int] = field(default_factory=dict)


class Decision(NamedTuple):
    """What a network or an ensemble says of B utterances, with M branches and C emotions.

    An ensemble whose members have different branches keeps none of theirs: (B, 0, C) and (B, 0).
    """

    log_posterior: Tensor  # (B, C), fused
    valence: Tensor  # (B,), fused
    weights: Tensor  # (B, M), of the branches
    branch_log_posteriors: Tensor  # (B, M, C)
    branch_valences: Tensor  # (B, M)

    @property
    def posterior(self) -> Tensor:
        """(B, C), fused."""
        return self.log_posterior.exp()

    def select(self, rows: Tensor) -> "Decision":
        """The decisions on some of the utterances; rows: (R,) indices."""
        return Decision(*(tensor[rows] for tensor in self))


class EmotionNetwork(nn.Module, ABC):
    """From standardised feature sets to a decision."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.built_as = architecture
        self.fusion_learns_alone = False  # the fused decision's gradients end at what it is made of

    @property
    def architecture(self) -> Architecture:
        """The network as it is now: pruning may have narrowed it since it was built."""
        return replace(self.built_as, widths=widths(self, self.node_groups()))

    @property
    @abstractmethod
    def branch_names(self) -> tuple[str, ...]:
        """Of the M branches whose decisions are weighed."""

    @abstractmethod
    def forward(self, features: Mapping[str, Tensor]) -> Decision:
        """Feature set -> (B, D_s), standardised -> the decision for each of the B utterances."""

    @abstractmethod
    def node_groups(self) -> Nodes:
        """All hidden nodes that pruning may remove."""

    def rescale_valence(self, mean: float, deviation: float) -> None:
        """Let the network give ``deviation * v + mean`` for every valence v.

        It is trained on standardised valences; this brings it into the labels' units. The branches' weights
        sum to 1, so that the fused valence is rescaled with the branches'.
        """
        for module in self.modules():
            if isinstance(module, JointDecoder):
                module.rescale_valence(mean, deviation)

    def macs(self) -> int:
        """Multiply-accumulates of the linear layers for one utterance."""
        return sum(m.in_features * m.out_features for m in self.modules() if isinstance(m, nn.Linear))


def count_parameters(network: nn.Module) -> int:
    """Trainable numbers in the network."""
    return sum(p.numel() for p in network.parameters())


def count_nodes(network: EmotionNetwork) -> int:
    """Hidden nodes; tied ones count once."""
    return sum(widths(network, network.node_groups()).values())
