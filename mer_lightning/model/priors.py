"""Posteriors for other class frequencies than those of training (Saerens, Latinne and Decaestecker 2002).

A network that is trained where the emotions have the priors pi says p(c | x) for these. Where they have pi',
and the emotions look the same, the posterior is proportional to p(c | x) pi'(c) / pi(c).
"""

import torch
from torch import Tensor

SMALLEST = 1e-12  # of an estimated prior, so that its logarithm is finite
CHANGE = 1e-8  # of a prior in a step of EM, below which it has ended
STEPS = 10_000


def with_priors(log_posterior: Tensor, trained: Tensor, priors: Tensor) -> Tensor:
    """The log-posterior (..., C) under other ``priors``, (C,), than those it was trained with, (C,).

    An emotion that training lacked keeps its factor 1.
    """
    factor = torch.where(trained > 0, priors / trained, 1.0)
    return torch.log_softmax(log_posterior + factor.log().to(log_posterior.dtype), dim=-1)


def estimated_priors(log_posterior: Tensor, trained: Tensor) -> Tensor:
    """The (C,) priors under which (B, C) posteriors are likeliest, by EM: no label is looked at.

    Each step takes for the priors the mean of the posteriors under those of the step before.
    """
    priors, log_posterior = trained.double(), log_posterior.double()
    for _ in range(STEPS):
        mean = with_priors(log_posterior, trained.double(), priors).exp().mean(dim=0).clamp_min(SMALLEST)
        priors, before = mean / mean.sum(), priors
        if float((priors - before).abs().max()) < CHANGE:
            break
    return priors
