"""The joint decoder of a branch: emotion and valence from one representation (Eq. 1-4)."""

import torch
from torch import Tensor, nn


class JointDecoder(nn.Module):
    """Decodes the gathered representation h of width D into C emotion logits and a valence."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.emotion = nn.Linear(width, classes)  # W_e, b_e
        self.valence_hidden = nn.Linear(width, 1)  # W_hv, b_hv
        self.valence_emotion = nn.Linear(classes, 1)  # W_ev, b_ev
        self.valence = nn.Linear(2, 1)  # W_vv, b_vv

    @torch.no_grad()
    def rescale_valence(self, mean: float, deviation: float) -> None:
        """Let the decoder give ``deviation * v + mean`` for what was v, by its last layer (Eq. 2)."""
        self.valence.weight.mul_(deviation)
        self.valence.bias.mul_(deviation).add_(mean)

    def forward(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """(B, D) -> emotion logits (B, C), valence (B,)."""
        logits = self.emotion(h)  # Eq. 1, before the softmax
        from_hidden = self.valence_hidden(h)  # Eq. 3
        from_emotion = torch.tanh(self.valence_emotion(logits))  # Eq. 4, on the logits
        valence = self.valence(torch.cat([from_hidden, from_emotion], dim=-1))  # Eq. 2
        return logits, valence.squeeze(-1)
