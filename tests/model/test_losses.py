"""Eq. 8 and 9: known optima, references, missing labels."""

import math

import numpy as np
import pytest
import torch

from mer_lightning.model.losses import UncertaintyWeighting, emotion_loss, valence_loss

NAN = float("nan")


def optimum(weighting: str, loss: float) -> list[float]:
    """The d that gradient descent finds for constant losses."""
    module = UncertaintyWeighting(weighting)
    optimiser = torch.optim.Adam(module.parameters(), lr=0.02)
    value, both = torch.tensor(float(loss)), torch.tensor([True, True])
    for _ in range(400):
        optimiser.zero_grad()
        module(value, value, both).backward()
        optimiser.step()
    return module.deltas.tolist()


@pytest.mark.parametrize(
    ("loss", "ce", "mse"), [(0.05, 0.53, 0.41), (0.5, 1.33, 1.00), (1, 1.77, 1.33), (2, 2.38, 1.77)]
)
def test_paper_weighting_has_the_published_optima(loss: float, ce: float, mse: float) -> None:
    assert optimum("paper", loss) == pytest.approx([ce, mse], abs=0.011)


def test_kendall_and_liebel_optima_in_closed_form() -> None:
    # log d + L / d^2: d^2 = 2 L; log d + L / (2 d^2): d^2 = L
    assert optimum("kendall", 0.7) == pytest.approx([math.sqrt(1.4), math.sqrt(0.7)], rel=1e-3)
    # L / (2 x) + log(1 + x), x = d^2: 2 x^2 = L (1 + x)
    x = (0.7 + math.sqrt(0.49 + 8 * 0.7)) / 4
    assert optimum("liebel", 0.7) == pytest.approx([math.sqrt(x)] * 2, rel=1e-3)


@pytest.mark.parametrize(
    ("weighting", "expected"),
    [
        ("paper", 2 / 4 + 3 / 18 + math.log(3) + math.log(4)),
        ("kendall", 2 / 4 + 3 / 18 + math.log(2) + math.log(3)),
        ("liebel", 2 / 8 + 3 / 18 + math.log(5) + math.log(10)),
        ("sum", 5),
    ],
)
def test_formula_at_d_2_and_3(weighting: str, expected: float) -> None:
    module = UncertaintyWeighting(weighting)
    module.log_deltas.data = torch.tensor([2.0, 3.0]).log()
    assert module(torch.tensor(2.0), torch.tensor(3.0), torch.tensor([True, True])).item() == pytest.approx(
        expected
    )


def test_as_printed_warns_and_is_degenerate() -> None:
    with pytest.warns(UserWarning, match="as printed"):
        module = UncertaintyWeighting("as_printed")
    both = torch.tensor([True, True])
    values = []
    for d in (1.0, 0.1, 0.001):
        module.log_deltas.data = torch.full((2,), math.log(d))
        values.append(module(torch.tensor(5.0), torch.tensor(5.0), both).item())
    assert values == sorted(values, reverse=True)
    assert values[-1] < 0.01


def test_a_task_without_labels_adds_nothing() -> None:
    module = UncertaintyWeighting()
    total = module(torch.tensor(0.4), torch.tensor(0.0), torch.tensor([True, False]))
    assert total.item() == pytest.approx(0.4 + math.log(2))
    total.backward()
    assert module.log_deltas.grad is not None
    assert module.log_deltas.grad[1] == 0


def test_emotion_loss_skips_the_unknown() -> None:
    log_posterior = torch.randn(5, 3, 4).log_softmax(-1)
    emotion = torch.tensor([0, -1, 3, 2, -1])
    known = [0, 2, 3]
    reference = -np.mean([log_posterior[i, m, emotion[i]].item() for i in known for m in range(3)])
    assert emotion_loss(log_posterior, emotion).item() == pytest.approx(reference, rel=1e-5)
    fused = torch.nn.functional.nll_loss(log_posterior[:, 0], emotion, ignore_index=-1)
    torch.testing.assert_close(emotion_loss(log_posterior[:, 0], emotion), fused)
    assert emotion_loss(log_posterior, torch.full((5,), -1)).item() == 0


def test_valence_loss_skips_the_unknown_without_nan_gradients() -> None:
    predicted = torch.tensor([[1.0, 3.0], [5.0, 5.0]], requires_grad=True)
    loss = valence_loss(predicted, torch.tensor([2.0, NAN]))
    assert loss.item() == pytest.approx(1.0)
    loss.backward()
    assert predicted.grad is not None
    assert predicted.grad.isfinite().all()
    assert (predicted.grad[1] == 0).all()
    assert valence_loss(predicted[:, 0], torch.tensor([NAN, NAN])).item() == 0


def test_class_weights_are_those_of_torch() -> None:
    generator = torch.Generator().manual_seed(0)
    log_posterior = torch.randn(40, 4, generator=generator).log_softmax(-1)
    emotion = torch.randint(-1, 4, (40,), generator=generator)
    weights = torch.tensor([1.0, 3.0, 2.0, 7.5])
    expected = torch.nn.functional.nll_loss(log_posterior, emotion, weights, ignore_index=-1)
    assert emotion_loss(log_posterior, emotion, weights).item() == pytest.approx(expected.item())
    branches = log_posterior.unsqueeze(1).expand(-1, 3, -1)
    assert emotion_loss(branches, emotion, weights).item() == pytest.approx(expected.item())
    assert emotion_loss(log_posterior, torch.full((40,), -1), weights).item() == 0
