"""A small multimodal transformer over the feature sets, with unimodal auxiliary heads.

After the published description of sense-dl-lab's system (Zong et al., MM 2023): the modalities are tokens of
one transformer, and unimodal predictions are supervised beside the multimodal one, with a weight. The sizes,
the attention pooling and the joint decoders (Eq. 1-4) are ours.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mer_lightning.model.base import Architecture, Decision, EmotionNetwork
from mer_lightning.model.decoder import JointDecoder
from mer_lightning.model.gathering import hidden_layers
from mer_lightning.pnao.nodes import Nodes


class TransformerNetwork(EmotionNetwork):
    """S feature sets, one token each; the branches of the decision are the S unimodal heads."""

    def __init__(self, architecture: Architecture, layers: int = 2, heads: int = 4) -> None:
        super().__init__(architecture)
        a = architecture
        inputs = a.levels | a.shared
        self.names = tuple(inputs)
        self.encoders = nn.ModuleList(hidden_layers((d, a.dimension), a.dropout) for d in inputs.values())
        self.unimodal = nn.ModuleList(JointDecoder(a.dimension, a.classes) for _ in inputs)
        self.kinds = nn.Parameter(torch.zeros(len(inputs), a.dimension))  # tells the tokens apart
        layer = nn.TransformerEncoderLayer(
            a.dimension, heads, 2 * a.dimension, a.dropout, batch_first=True, norm_first=True
        )
        self.transformer = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.score = nn.Linear(a.dimension, 1)
        self.multimodal = JointDecoder(a.dimension, a.classes)

    @property
    def branch_names(self) -> tuple[str, ...]:
        """The feature sets: the weights are those of the attention pooling."""
        return self.names

    def forward(self, features: Mapping[str, Tensor]) -> Decision:
        """Feature set -> (B, D_s), standardised -> the decision for each of the B utterances."""
        vectors = [encode(features[name]) for encode, name in zip(self.encoders, self.names, strict=True)]
        heads = [decode(v) for decode, v in zip(self.unimodal, vectors, strict=True)]
        tokens = self.transformer(torch.stack(vectors, dim=1) + self.kinds)
        weights = torch.softmax(self.score(tokens).squeeze(-1), dim=-1)
        logits, valence = self.multimodal(torch.einsum("bs,bsd->bd", weights, tokens))
        return Decision(
            log_posterior=torch.log_softmax(logits, dim=-1),
            valence=valence,
            weights=weights,
            branch_log_posteriors=torch.log_softmax(torch.stack([e for e, _ in heads], dim=1), dim=-1),
            branch_valences=torch.stack([v for _, v in heads], dim=1),
        )

    def node_groups(self) -> Nodes:
        """None: the residual stream ties all layers, and PNAO is not defined on it."""
        return Nodes({}, {})

    def macs(self) -> int:
        """The layers of the transformer work on every one of the S tokens."""
        a, s = self.built_as, len(self.names)
        once = sum(
            m.in_features * m.out_features
            for part in (*self.encoders, *self.unimodal, self.multimodal)
            for m in part.modules()
            if isinstance(m, nn.Linear)
        )
        attention = s * 4 * a.dimension**2 + 2 * s**2 * a.dimension
        feedforward = s * 2 * a.dimension * 2 * a.dimension
        return once + len(self.transformer.layers) * (attention + feedforward) + s * a.dimension
