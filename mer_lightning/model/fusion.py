"""Decision fusion: how the M branches' posteriors and valences become one decision (Eq. 5-7)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mer_lightning.errors import UserError


def entropy_weights(entropies: Tensor) -> Tensor:
    """Confidence of each branch from its entropy, Eq. 6: ``w_i = (1 - H_i / sum H) / (M - 1)``.

    Args:
        entropies: (B, M), each >= 0.

    Returns:
        (B, M) weights that sum to 1, each at most 1 / (M - 1). One branch has weight 1; where all
        entropies are zero (every branch certain) the weights are uniform.
    """
    branches = entropies.shape[-1]
    if branches == 1:
        return torch.ones_like(entropies)
    total = entropies.sum(dim=-1, keepdim=True)
    share = torch.where(total > 0, entropies / torch.where(total > 0, total, 1.0), 1.0 / branches)
    return (1 - share) / (branches - 1)


def entropies(log_posteriors: Tensor) -> Tensor:
    """Entropy of each branch, Eq. 5: ``H_i = -<p_i, log p_i>``, (B, M, C) -> (B, M), in nats.

    The likeliest class's part is taken from the sum q of the others, ``-(1 - q) log(1 - q)``: where a branch
    is nearly certain, log p rounds to nothing in float32 and the weights would be off in their fourth digit.
    """
    likeliest = log_posteriors.argmax(dim=-1, keepdim=True)
    others = log_posteriors.exp().scatter(-1, likeliest, 0.0)
    q = others.sum(dim=-1)
    return -(others * log_posteriors).sum(dim=-1) - (1 - q) * torch.log1p(-q)


def entropy_fusion(posteriors: Tensor, valences: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Entropy-based decision fusion, Eq. 5-7.

    Args:
        posteriors: (B, M, C), each row a distribution over the C emotions.
        valences: (B, M).

    Returns:
        The fused posterior (B, C), the fused valence (B,), and the weights (B, M).
    """
    smallest = torch.finfo(posteriors.dtype).tiny  # stands in for 0, whose log would be -inf
    weights = entropy_weights(entropies(posteriors.clamp_min(smallest).log()))
    fused = torch.einsum("bm,bmc->bc", weights, posteriors)
    return fused, (weights * valences).sum(dim=-1), weights


def fuse_log_posteriors(log_posteriors: Tensor, weights: Tensor) -> Tensor:
    """Eq. 7 in the log domain: ``log sum_i w_i p_i``, (B, M, C) and (B, M) -> (B, C)."""
    # A zero weight has log -inf and no usable gradient; the smallest normal number stands in for it.
    log_weights = weights.clamp_min(torch.finfo(weights.dtype).tiny).log()
    return torch.logsumexp(log_posteriors + log_weights.unsqueeze(-1), dim=1)


class EntropyFusion(nn.Module):
    """Weights from the entropy of the branches' posteriors (Eq. 5, 6); nothing to learn."""

    def forward(self, log_posteriors: Tensor, gathered: Sequence[Tensor]) -> Tensor:
        """(B, M, C) log-posteriors -> (B, M) weights."""
        return entropy_weights(entropies(log_posteriors))


class AttentionFusion(nn.Module):
    """The former system: softmax weights from a linear layer on the concatenated h_i."""

    reads_gathered = ("score",)  # the layers whose inputs are the gathered nodes

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.score = nn.Linear(sum(widths), len(widths))

    def forward(self, log_posteriors: Tensor, gathered: Sequence[Tensor]) -> Tensor:
        """M gathered representations (B, D_i) -> (B, M) weights."""
        return torch.softmax(self.score(torch.cat(list(gathered), dim=-1)), dim=-1)


class LinearFusion(nn.Module):
    """Given weights, one per branch, scaled to sum to 1; the same for every utterance."""

    weights: Tensor

    def __init__(self, weights: Sequence[float]) -> None:
        super().__init__()
        given = torch.tensor(list(weights), dtype=torch.float32)
        self.register_buffer("weights", given / given.sum())

    def forward(self, log_posteriors: Tensor, gathered: Sequence[Tensor]) -> Tensor:
        """(B, M, C) log-posteriors -> (B, M) weights."""
        return self.weights.expand(log_posteriors.shape[0], -1)


class MeanFusion(LinearFusion):
    """The same weight for every branch."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__([1.0] * len(widths))


class FittedFusion(MeanFusion):
    """The same weights for every utterance, fitted after training; the mean until then."""


@torch.no_grad()
def check_fusion(fusion: nn.Module, widths: Sequence[int], classes: int, name: str) -> None:
    """A UserError unless a fusion gives weights (B, M), each >= 0, that sum to 1, as all decisions need.

    widths: of the M gathered representations.
    """
    shape = 2, len(widths)
    posteriors = torch.log_softmax(torch.linspace(-1, 1, 2 * len(widths) * classes).view(*shape, classes), -1)
    training = fusion.training
    with torch.random.fork_rng(devices=[]):
        weights = fusion.eval()(posteriors, [torch.ones(2, width) for width in widths])
    fusion.train(training)
    if weights.shape != shape:
        raise UserError(f"fusion={name}: expected weights of shape {shape}, found {tuple(weights.shape)}")
    if not ((weights >= 0).all() and torch.allclose(weights.sum(dim=-1), torch.ones(2), atol=1e-3)):
        raise UserError(
            f"fusion={name}: expected weights of 0 or more that sum to 1, found {weights.tolist()}"
        )
