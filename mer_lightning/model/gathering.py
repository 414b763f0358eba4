"""AFG: attention-guided feature gathering over one acoustic level and the shared feature sets."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from mer_lightning.model.dropout import Dropout
from mer_lightning.pnao.layers import Columns


def hidden_layers(widths: Sequence[int], dropout: float) -> nn.Sequential:
    """Linear-ReLU-Dropout for each step of ``widths`` (in, hidden, ..., out)."""
    layers: list[nn.Module] = []
    for wide, narrow in pairwise(widths):
        layers += [nn.Linear(wide, narrow), nn.ReLU(), Dropout(dropout)]
    return nn.Sequential(*layers)


class Gathering(nn.Module):
    """Encodes S feature sets to D dimensions each and sums them by attention.

    Args:
        inputs: S input dimensions.
        hidden: S hidden widths, one per encoder.
        gathered: D, the width all encoders end in.
        attention: the two hidden widths of the MLP that scores the feature sets.
        softmax: whether the scores go through a softmax.
        columns: of each set how many inputs are read, all or fewer; None: all, and none can be pruned.

    A single feature set (S = 1) is passed on as it is encoded: there is nothing to weigh.
    """

    def __init__(
        self,
        inputs: Sequence[int],
        hidden: Sequence[int],
        gathered: int,
        attention: tuple[int, int],
        dropout: float,
        softmax: bool,
        columns: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        sets = len(inputs)
        self.softmax = softmax
        read = inputs if columns is None else columns
        if columns is not None:
            self.columns = nn.ModuleList(Columns(*pair) for pair in zip(inputs, columns, strict=True))
        self.encoders = nn.ModuleList(
            hidden_layers((wide, narrow, gathered), dropout)
            for wide, narrow in zip(read, hidden, strict=True)
        )
        if sets > 1:
            self.attention = hidden_layers((sets * gathered, *attention), dropout)
            self.score = nn.Linear(attention[1], sets)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """S feature sets (B, D_s) -> the gathered representation h (B, D)."""
        if hasattr(self, "columns"):
            features = [select(x) for select, x in zip(self.columns, features, strict=True)]
        vectors: list[Tensor] = [encode(x) for encode, x in zip(self.encoders, features, strict=True)]
        if len(vectors) == 1:
            return vectors[0]
        scores = self.score(self.attention(torch.cat(vectors, dim=-1)))
        if self.softmax:
            scores = torch.softmax(scores, dim=-1)
        return torch.einsum("bs,bsd->bd", scores, torch.stack(vectors, dim=1))
