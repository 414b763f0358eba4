"""The sparse term of Eq. 8: what the optimizer sees of it."""

from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.plugins import MixedPrecision
from torch import Tensor, nn

from mer_lightning.pnao import PNAO
from tests.pnao.nets import fit, loaders, new, trainer

Seen = dict[str, tuple[Tensor, Tensor]]  # parameter -> gradient, weight


class Gradients(L.Callback):
    """What each step of the optimizer sees: before clipping, with the weights; and after it."""

    def __init__(self) -> None:
        self.steps: list[Seen] = []
        self.clipped: list[dict[str, Tensor]] = []

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        trainer.optimizers[0].register_step_post_hook(lambda *_: self.clipped.append(self.of(pl_module)))

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: L.LightningModule, _: Any) -> None:
        self.steps.append(
            {n: (g, pl_module.get_parameter(n).detach().clone()) for n, g in self.of(pl_module).items()}
        )

    @staticmethod
    def of(module: nn.Module) -> dict[str, Tensor]:
        return {n: p.grad.clone() for n, p in module.named_parameters() if p.grad is not None}


PRUNABLE = ("net.0.weight", "net.3.weight")  # whose rows are nodes


def stepped(alpha: float, optimizers: Any = None, **options: Any) -> Gradients:
    def sgd(module: L.LightningModule) -> Any:
        return torch.optim.SGD(module.parameters(), lr=0.1)

    module, gradients = new(optimizers=optimizers or sgd), Gradients()
    with torch.no_grad():
        module.net.get_parameter("0.weight")[0, 0] = 0  # sign(0) is 0
    pnao = PNAO(rounds=0, alpha=alpha)
    next(pnao.rounds(module))
    fit(pnao, module, gradients, **options)
    return gradients


@pytest.mark.parametrize("every", [1, 2, 3])
def test_the_sparse_term_is_added_once_a_step_to_weights_of_nodes_alone(every: int) -> None:
    alpha = 0.25
    plain, sparse = (stepped(a, accumulate_grad_batches=every).steps for a in (0.0, alpha))
    assert len(plain) == len(sparse) == 3 * -(-3 // every)
    for name, (gradient, weight) in plain[0].items():  # the first step, of the same weights
        found, same_weight = sparse[0][name]
        assert weight.equal(same_weight)
        term = alpha * weight.sign() if name in PRUNABLE else torch.zeros_like(weight)
        torch.testing.assert_close(found, gradient + term, atol=1e-7, rtol=0)
    assert sparse[0]["net.0.weight"][0][0, 0] == plain[0]["net.0.weight"][0][0, 0]


def test_the_sparse_term_comes_before_clipping() -> None:
    alpha, clip = 0.25, 0.5
    plain, clipped = stepped(0.0).steps[0], stepped(alpha, gradient_clip_val=clip).clipped[0]
    terms = {n: g + alpha * w.sign() * (n in PRUNABLE) for n, (g, w) in plain.items()}
    norm = torch.cat([g.flatten() for g in terms.values()]).norm()
    assert norm > clip
    for name, expected in terms.items():
        torch.testing.assert_close(clipped[name], expected * clip / (norm + 1e-6), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("fused", [False, True])
def test_with_scaled_gradients_the_sparse_term_is_scaled_as_they_are(fused: bool) -> None:
    """A fused optimizer takes gradients still scaled; of others the plugin has unscaled them before."""
    alpha, scale = 0.25, 1024.0

    def sgd(module: L.LightningModule) -> Any:
        return torch.optim.SGD(module.parameters(), lr=0.1, fused=fused)

    def precision() -> MixedPrecision:
        return MixedPrecision("16-mixed", "cpu", scaler=torch.amp.GradScaler("cpu", init_scale=scale))

    plain, sparse = (stepped(a, sgd, plugins=[precision()]).steps[0] for a in (0.0, alpha))
    for name, (gradient, weight) in plain.items():
        factor = scale if fused else 1.0
        term = factor * alpha * weight.sign() * (name in PRUNABLE)
        torch.testing.assert_close(sparse[name][0], gradient + term, atol=1e-3 * factor / scale, rtol=1e-6)
    magnitude = plain["net.6.bias"][0].abs().max()
    assert (magnitude > 10) == fused  # so the case is what it says


def test_only_what_gets_a_gradient_gets_the_sparse_term() -> None:
    """Frozen layers, heads, other modules' parameters and the loss's own stay without it."""

    def some(module: L.LightningModule) -> Any:
        return torch.optim.SGD([p for p in module.parameters() if p.requires_grad], lr=0.1)

    module, gradients = new(optimizers=some), Gradients()
    module.other = nn.Linear(3, 3)
    module.net.get_parameter("0.weight").requires_grad_(False)
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    pnao = PNAO(rounds=0, alpha=0.25)
    next(pnao.rounds(module))
    trainer(pnao, gradients, max_epochs=1).fit(module, *loaders())
    for name in ("net.0.weight", "other.weight", "other.bias"):
        assert module.get_parameter(name).equal(before[name])
    assert set(gradients.steps[0]) == {
        "net.0.bias",
        "net.3.weight",
        "net.3.bias",
        "net.6.weight",
        "net.6.bias",
    }


def test_the_proximal_step_shrinks_all_weights_alike_whatever_the_optimizer() -> None:
    """After Adam's step, |W| falls by the learning rate times alpha, down to zero and no further."""
    rate, alpha = 0.01, 3.0

    def adam(module: L.LightningModule) -> Any:
        return torch.optim.Adam(module.parameters(), lr=rate)

    def first_step(alpha: float) -> dict[str, Tensor]:
        module, seen = new(optimizers=adam), {}
        pnao = PNAO(rounds=0, alpha=alpha, sparse="proximal")
        next(pnao.rounds(module))

        class First(L.Callback):
            def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
                seen.update(seen or {n: p.detach().clone() for n, p in pl_module.named_parameters()})

        fit(pnao, module, First())
        return seen

    plain, shrunk = first_step(0.0), first_step(alpha)
    for name, weight in plain.items():
        by = rate * alpha if name in PRUNABLE else 0.0
        torch.testing.assert_close(shrunk[name], weight.sign() * (weight.abs() - by).clamp_min(0))
        assert name not in PRUNABLE or (shrunk[name] == 0).any()
