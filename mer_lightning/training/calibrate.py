"""What is fitted after training, on the part that stopped it: temperatures, and weights of a linear fusion.

Entropy fusion (Eq. 5-7) trusts a branch as far as its posterior is sharp. A branch that is sharper than it
is right gets too much weight; a temperature for each branch (Guo et al. 2017) corrects that, and leaves the
equations as they are.
"""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

from mer_lightning.model.base import EmotionNetwork
from mer_lightning.model.fusion import FittedFusion
from mer_lightning.model.hierarchical import Branches, HierarchicalNetwork
from mer_lightning.model.losses import emotion_loss

LARGEST = np.log(20.0)  # of a temperature's logarithm, and of its inverse's


def fit_fusion(network: EmotionNetwork, features: Mapping[str, Tensor], emotion: Tensor) -> None:
    """Fit, in place, what the network's fusion leaves to be fitted after training; often nothing.

    Both have the least cross-entropy of the fused posterior.

    Args:
        features: of the R utterances to fit on, standardised, (R, D_s) each.
        emotion: (R,) class indices, -1 where unknown; where none is known nothing is fitted.
    """
    if not isinstance(network, HierarchicalNetwork) or not bool((emotion >= 0).any()):
        return
    with torch.no_grad():
        branches = network.decide(features)
    if isinstance(network.fusion, FittedFusion):
        network.fusion.weights.copy_(fitted_weights(branches, emotion))
    if network.temperatures is not None:
        network.temperatures.copy_(fitted_temperatures(network, branches, emotion))


def fitted_temperatures(network: HierarchicalNetwork, branches: Branches, emotion: Tensor) -> Tensor:
    """(M,) temperatures of the branches."""

    def loss(logarithms: Tensor) -> Tensor:
        return emotion_loss(network.fuse(branches, logarithms.exp().float()).log_posterior, emotion)

    return minimised(loss, branches.valences.shape[1]).exp()


def fitted_weights(branches: Branches, emotion: Tensor) -> Tensor:
    """(M,) weights that sum to 1, the same for every utterance."""
    log_posteriors = branches.log_posteriors.double()

    def loss(logits: Tensor) -> Tensor:
        log_weights = torch.log_softmax(logits, dim=0)
        return emotion_loss(torch.logsumexp(log_posteriors + log_weights[:, None], dim=1), emotion)

    return torch.softmax(minimised(loss, log_posteriors.shape[1]), dim=0)


def minimised(loss: Callable[[Tensor], Tensor], size: int) -> Tensor:
    """The (size,) vector of least ``loss``, by L-BFGS from zero, each entry within +-LARGEST."""

    def with_gradient(x: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        point = torch.from_numpy(x.copy()).requires_grad_()
        value = loss(point)
        (gradient,) = torch.autograd.grad(value, point)
        return float(value.detach()), gradient.numpy()

    bounds = [(-LARGEST, LARGEST)] * size
    found = minimize(with_gradient, np.zeros(size), jac=True, method="L-BFGS-B", bounds=bounds)
    return torch.from_numpy(found.x).float()
