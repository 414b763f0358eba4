"""Posteriors under other priors, against Bayes' rule and the likelihood itself."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.stats import norm

from mer_lightning.model.priors import estimated_priors, with_priors

MEANS = np.array([-1.0, 0.5, 2.0])
TRAINED, THERE = np.array([0.5, 0.3, 0.2]), np.array([0.1, 0.2, 0.7])


def log_posterior(x: np.ndarray, priors: np.ndarray) -> torch.Tensor:
    """(B, 3) by Bayes' rule, of three normal classes."""
    joint = norm.pdf(x[:, None], MEANS) * priors
    return torch.from_numpy(np.log(joint / joint.sum(axis=1, keepdims=True)))


def drawn(n: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.normal(MEANS[rng.choice(3, n, p=THERE)])


def test_other_priors_give_bayes_posterior() -> None:
    x = drawn(50)
    found = with_priors(log_posterior(x, TRAINED), torch.tensor(TRAINED), torch.tensor(THERE))
    torch.testing.assert_close(found, log_posterior(x, THERE))
    same = with_priors(log_posterior(x, TRAINED), torch.tensor(TRAINED), torch.tensor(TRAINED))
    torch.testing.assert_close(same, log_posterior(x, TRAINED))


def test_an_emotion_that_training_lacked_stays_finite() -> None:
    found = with_priors(
        torch.tensor([[0.5, 0.4, 0.1]]).log(), torch.tensor([0.6, 0.4, 0.0]), torch.ones(3) / 3
    )
    assert found.isfinite().all()
    assert float(found.exp().sum()) == pytest.approx(1)


def test_em_finds_the_priors_of_greatest_likelihood() -> None:
    x = drawn(4000)
    found = estimated_priors(log_posterior(x, TRAINED), torch.tensor(TRAINED)).numpy()
    np.testing.assert_allclose(found, THERE, atol=0.03)
    densities = norm.pdf(x[:, None], MEANS)

    def loss(logits: np.ndarray) -> float:
        priors = np.exp(logits) / np.exp(logits).sum()
        return -float(np.log(densities @ priors).mean())

    best = np.exp(minimize(loss, np.zeros(3)).x)
    np.testing.assert_allclose(found, best / best.sum(), atol=1e-3)
