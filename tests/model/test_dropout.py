"""Dropout against what it promises: shares, means, independence, gradients."""

import pytest
import torch

from mer_lightning.model.dropout import Dropout, keep_mask


@pytest.mark.parametrize("p", [0.1, 0.3, 0.5, 0.999])
def test_the_share_is_p_in_every_place_of_a_draw_and_the_mean_is_kept(p: float) -> None:
    torch.manual_seed(0)
    mask = keep_mask(torch.empty(400, 1000), p).view(-1)
    tolerance = 5 * (p * (1 - p) / 100_000) ** 0.5
    for place in range(4):
        assert (mask[place::4] == 0).float().mean().item() == pytest.approx(p, abs=tolerance)
    assert mask.mean().item() == pytest.approx(1, abs=tolerance / (1 - p))
    assert mask.unique().numel() == 2


def test_neighbours_are_independent() -> None:
    torch.manual_seed(1)
    kept = (keep_mask(torch.empty(400_000), 0.5) > 0).float()
    for step in range(1, 5):
        together = (kept[:-step] * kept[step:]).mean().item()
        assert together == pytest.approx(0.25, abs=0.004)


def test_the_gradient_goes_where_the_value_went() -> None:
    x = torch.ones(7, 13, dtype=torch.float64, requires_grad=True)
    y = Dropout(0.4)(x)
    y.sum().backward()
    assert y.dtype == torch.float64
    assert x.grad is not None
    torch.testing.assert_close(x.grad, y.detach())


def test_nothing_happens_in_evaluation_or_without_p() -> None:
    x = torch.randn(3, 5)
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0)(x) is x
    assert Dropout(0.5)(torch.empty(0, 4)).shape == (0, 4)


def test_a_seed_gives_the_same_mask() -> None:
    x = torch.ones(10, 10)
    torch.manual_seed(3)
    first = Dropout(0.5)(x)
    second = Dropout(0.5)(x)
    torch.manual_seed(3)
    assert torch.equal(Dropout(0.5)(x), first)
    assert not torch.equal(first, second)
