"""Eq. 5-7 against numpy, and the edge cases."""

import numpy as np
import pytest
import torch

from mer_lightning.config.registry import FUSIONS
from mer_lightning.model.fusion import (
    entropies,
    entropy_fusion,
    entropy_weights,
    fuse_log_posteriors,
)


def random_posteriors(b: int, m: int, c: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(b * 100 + m * 10 + c)
    return torch.randn(b, m, c, generator=generator).mul(2).softmax(-1), torch.randn(
        b, m, generator=generator
    )


@pytest.mark.parametrize(("m", "c"), [(2, 2), (3, 6), (12, 40)])
def test_entropy_fusion_is_equations_5_to_7(m: int, c: int) -> None:
    posteriors, valences = random_posteriors(7, m, c)
    p, v = posteriors.double().numpy(), valences.double().numpy()
    h = -(p * np.log(p)).sum(-1)
    w = (1 - h / h.sum(1, keepdims=True)) / (m - 1)
    fused, valence, weights = entropy_fusion(posteriors, valences)
    np.testing.assert_allclose(weights, w, atol=1e-6)
    np.testing.assert_allclose(fused, (w[..., None] * p).sum(1), atol=1e-6)
    np.testing.assert_allclose(valence, (w * v).sum(1), atol=1e-5)


@pytest.mark.parametrize("gap", [8.0, 12.0, 16.0, 30.0])
def test_weights_of_nearly_certain_branches_keep_their_precision(gap: float) -> None:
    logits = torch.randn(40, 3, 6, generator=torch.Generator().manual_seed(0))
    logits[..., 2] += gap
    exact = entropies(logits.double().log_softmax(-1))
    found = entropies(logits.log_softmax(-1))
    torch.testing.assert_close(found.double(), exact, rtol=2e-5, atol=0)
    torch.testing.assert_close(entropy_weights(found).double(), entropy_weights(exact), rtol=0, atol=5e-6)


def test_weights_sum_to_one_and_are_bounded() -> None:
    posteriors, valences = random_posteriors(50, 4, 6)
    fused, _, weights = entropy_fusion(posteriors, valences)
    torch.testing.assert_close(weights.sum(1), torch.ones(50))
    torch.testing.assert_close(fused.sum(1), torch.ones(50))
    assert (weights <= 1 / 3 + 1e-6).all()
    assert (weights >= 0).all()


def test_the_more_certain_branch_weighs_more() -> None:
    weights = entropy_weights(torch.tensor([[0.1, 0.9, 0.5]]))
    assert weights[0].argsort(descending=True).tolist() == [0, 2, 1]


def test_one_branch_has_weight_one() -> None:
    posteriors, valences = random_posteriors(5, 1, 6)
    fused, valence, weights = entropy_fusion(posteriors, valences)
    assert (weights == 1).all()
    torch.testing.assert_close(fused, posteriors[:, 0])
    torch.testing.assert_close(valence, valences[:, 0])


def test_all_certain_is_uniform_with_usable_gradients() -> None:
    logits = torch.full((2, 3, 4), -1e4)
    logits[..., 1] = 1e4
    logits.requires_grad_()
    log_posteriors = logits.log_softmax(-1)
    weights = FUSIONS.make("entropy", widths=[1, 1, 1])(log_posteriors, [])
    torch.testing.assert_close(weights, torch.full((2, 3), 1 / 3))
    fuse_log_posteriors(log_posteriors, weights)[:, 1].sum().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    posteriors = torch.zeros(2, 3, 4)
    posteriors[..., 1] = 1
    torch.testing.assert_close(entropy_fusion(posteriors, torch.zeros(2, 3))[2], torch.full((2, 3), 1 / 3))


def test_one_certain_branch_among_unsure_ones() -> None:
    weights = entropy_weights(torch.tensor([[0.0, 1.0, 1.0]]))
    torch.testing.assert_close(weights, torch.tensor([[0.5, 0.25, 0.25]]))


def test_log_domain_agrees_even_with_zero_weights() -> None:
    posteriors, _ = random_posteriors(6, 3, 5)
    weights = torch.tensor([[0.0, 0.4, 0.6]]).expand(6, -1)
    expected = torch.einsum("bm,bmc->bc", weights, posteriors)
    torch.testing.assert_close(fuse_log_posteriors(posteriors.log(), weights).exp(), expected)


def test_attention_mean_and_linear() -> None:
    gathered = [torch.randn(4, 3), torch.randn(4, 5)]
    log_posteriors = torch.randn(4, 2, 6).log_softmax(-1)
    attention = FUSIONS.make("attention", widths=[3, 5])
    torch.testing.assert_close(attention(log_posteriors, gathered).sum(1), torch.ones(4))
    mean = FUSIONS.make("mean", widths=[3, 5])(log_posteriors, gathered)
    torch.testing.assert_close(mean, torch.full((4, 2), 0.5))
    linear = FUSIONS.make("linear", widths=[3, 5], weights=[3.0, 1.0])(log_posteriors, gathered)
    torch.testing.assert_close(linear, torch.tensor([0.75, 0.25]).expand(4, -1))
