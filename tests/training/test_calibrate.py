"""Temperatures and weights that are fitted after training, against searches by brute force."""

from dataclasses import replace

import numpy as np
import torch
from scipy.optimize import minimize_scalar

from mer_lightning.model.base import Architecture
from mer_lightning.model.build import build
from mer_lightning.model.hierarchical import Branches, HierarchicalNetwork
from mer_lightning.model.losses import emotion_loss
from mer_lightning.training.calibrate import fit_fusion, fitted_temperatures, fitted_weights

CLASSES, ROWS = 4, 400
ONE = Architecture({"a": 5}, {}, CLASSES, dimension=8, dropout=0.0, calibrated=True)
THREE = replace(ONE, levels={"a": 5, "b": 5, "c": 5})


def network(architecture: Architecture) -> HierarchicalNetwork:
    torch.manual_seed(0)
    built = build(architecture).eval()
    assert isinstance(built, HierarchicalNetwork)
    return built


def branches(sharpness: list[float], noise: list[float]) -> tuple[Branches, torch.Tensor]:
    """Branches of logits ``sharpness * (onehot + noise)``, and the emotions that they are about."""
    generator = torch.Generator().manual_seed(1)
    emotion = torch.randint(CLASSES, (ROWS,), generator=generator)
    onehot = torch.nn.functional.one_hot(emotion, CLASSES).float()
    logits = []
    for s, n in zip(sharpness, noise, strict=True):
        logits.append(s * (onehot + n * torch.randn(ROWS, CLASSES, generator=generator)))
    log_posteriors = torch.log_softmax(torch.stack(logits, dim=1), dim=-1)
    return Branches(
        log_posteriors, torch.zeros(ROWS, len(noise)), [torch.zeros(ROWS, 8)] * len(noise)
    ), emotion


def test_one_branch_gets_the_temperature_of_least_cross_entropy() -> None:
    said, emotion = branches([9.0], [0.8])

    def loss(t: float) -> float:
        return float(emotion_loss(torch.log_softmax(said.log_posteriors[:, 0] / t, -1), emotion))

    best = minimize_scalar(loss, bounds=(0.1, 20), method="bounded", options={"xatol": 1e-4}).x
    found = fitted_temperatures(network(ONE), said, emotion)
    np.testing.assert_allclose(found, [best], rtol=2e-2)
    assert best > 2  # it was too sharp


def test_a_branch_that_is_sharper_than_it_is_right_loses_weight() -> None:
    said, emotion = branches([4.0, 4.0, 12.0], [0.4, 0.4, 2.0])
    net = network(THREE)
    before = net.fuse(said)
    temperatures = fitted_temperatures(net, said, emotion)
    after = net.fuse(said, temperatures)
    assert temperatures[2] > 3 * temperatures[:2].max()
    assert emotion_loss(after.log_posterior, emotion) < emotion_loss(before.log_posterior, emotion)
    assert after.weights[:, 2].mean() < before.weights[:, 2].mean()
    torch.testing.assert_close(after.branch_log_posteriors, said.log_posteriors)  # what is trained is left


def test_weights_are_those_of_a_search_over_the_simplex() -> None:
    said, emotion = branches([4.0, 4.0], [0.5, 0.8])
    grid = np.linspace(0, 1, 1001)
    posteriors = said.log_posteriors.exp()
    losses = [
        float(emotion_loss((w * posteriors[:, 0] + (1 - w) * posteriors[:, 1]).log(), emotion)) for w in grid
    ]
    np.testing.assert_allclose(fitted_weights(said, emotion)[0], grid[np.argmin(losses)], atol=5e-3)


def test_what_is_fitted_is_part_of_the_network_and_nothing_is_fitted_without_labels() -> None:
    features = {name: torch.randn(50, 5) for name in "abc"}
    emotion = torch.randint(CLASSES, (50,))
    net = network(THREE)
    fit_fusion(net, features, torch.full((50,), -1))
    assert net.temperatures is not None
    assert (net.temperatures == 1).all()
    fit_fusion(net, features, emotion)
    copy = network(THREE)
    copy.load_state_dict(net.state_dict())
    torch.testing.assert_close(copy(features).log_posterior, net(features).log_posterior)
    assert not (net.temperatures == 1).any()
    linear = network(replace(THREE, calibrated=False, fusion="linear_fitted"))
    fit_fusion(linear, features, emotion)
    torch.testing.assert_close(linear(features).weights.sum(1), torch.ones(50))
    assert linear(features).weights[0].std() > 0
    plain = network(replace(THREE, calibrated=False))
    assert "temperatures" not in plain.state_dict()
