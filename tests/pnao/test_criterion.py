"""A user's own criterion and rule: given what they need, and taken at their word."""

import inspect
from collections.abc import Mapping
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mer_lightning.pnao import PNAO, Columns, chain, compact, global_masks, weight_importance
from mer_lightning.pnao.importance import scaled
from mer_lightning.pnao.masks import top_k
from tests.pnao.nets import data, fit, new, same, train
from tests.pnao.taylor import taylor


def by_hand(module: L.LightningModule) -> dict[str, Tensor]:
    """Taylor importances of all 24 samples in three batches, in double precision."""
    copy = nn.Sequential(*module.net).double()  # type: ignore[union-attr]
    x, y = (tensor.double() for tensor in data().tensors)
    loss = 3 * nn.functional.mse_loss(copy(x), y)  # a sum of three batches' means
    weights = {name: copy.get_parameter(f"{name.removeprefix('net.')}.weight") for name in ("net.0", "net.3")}
    gradients = torch.autograd.grad(loss, list(weights.values()))
    found = {
        n: (w * g).abs().sum(dim=1).detach() for (n, w), g in zip(weights.items(), gradients, strict=True)
    }
    copy.float()
    return found


def test_taylor_sees_gradients_and_data_and_decides() -> None:
    assert len(inspect.getsource(taylor).splitlines()) < 20
    pnao, module = PNAO(criterion=taylor, rate=0.3, rounds=1), new()
    for number in pnao.rounds(module):
        fit(pnao, module)
        if number == 0:
            saved = pnao.store.read(0)
            module.load_state_dict(saved.module)
            expected = by_hand(module)
    for group, mask in global_masks(expected, 0.3).items():
        np.testing.assert_array_equal(saved.masks[group], mask)
    assert pnao.history[1]["parameters"] < pnao.history[0]["parameters"]
    assert all(p.grad is None for p in module.parameters())


def test_what_a_criterion_does_to_the_module_is_forgotten() -> None:
    """It may train on, or update running statistics: the next round begins at the early-stop point."""

    def destructive(module: L.LightningModule, nodes: Any, trainer: Any) -> dict[str, Tensor]:
        for parameter in module.parameters():
            parameter.data.zero_()
        return {"net.0": torch.arange(8.0), "net.3": torch.arange(6.0)}

    def harmless(module: Any, nodes: Any, trainer: Any) -> dict[str, Tensor]:
        return {"net.0": torch.arange(8.0), "net.3": torch.arange(6.0)}

    modules = [train(PNAO(criterion=c, rounds=1, rate=0.3), new()) for c in (destructive, harmless)]
    assert same(*modules)


def halves(importances: Mapping[str, Tensor], number: int) -> dict[str, Tensor]:
    """Half of each group in round 1, all of it later."""
    return {group: top_k(g, len(g) // 2 if number == 1 else len(g)) for group, g in importances.items()}


@pytest.mark.parametrize("kept", [False, True])
def test_a_rule_of_ones_own_is_told_the_round_to_come(kept: bool, tmp_path: Any) -> None:
    told = []

    def rule(importances: Mapping[str, Tensor], number: int) -> dict[str, Tensor]:
        told.append((number, {group: len(g) for group, g in importances.items()}))
        return halves(importances, number)

    pnao = PNAO(masks=rule, rounds=2, min_width=99, dirpath=tmp_path if kept else None)
    train(pnao, new())
    assert told == [(1, {"net.0": 8, "net.3": 6}), (2, {"net.0": 4, "net.3": 3})]
    full, half = {"net.0": 8, "net.3": 6}, {"net.0": 4, "net.3": 3}
    assert [record["widths"] for record in pnao.history] == [full, half, half]
    assert [record["notes"] for record in pnao.history] == [[], [], []]


def test_the_importance_of_inputs_is_that_of_the_columns_that_read_them() -> None:
    net = nn.Sequential(Columns(3), nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 1))
    with torch.no_grad():
        net.get_parameter("1.weight").copy_(torch.tensor([[1.0, -2.0, 0.0], [3.0, 0.0, 1.0]]))
    nodes = chain("0", "1", "3")
    assert weight_importance(net, nodes)["0"].tolist() == [2.0, 1.0, 0.5]
    narrow = compact(
        net, {"0": torch.tensor([True, False, True]), "1": torch.ones(2, dtype=torch.bool)}, nodes
    )
    x = torch.randn(5, 3)
    torch.testing.assert_close(narrow(x), net(x * torch.tensor([1.0, 0.0, 1.0])))
    assert narrow.get_parameter("1.weight").shape == (2, 2)


def test_lamp_scores_are_of_the_definition() -> None:
    g = torch.rand(20, generator=torch.Generator().manual_seed(0))
    expected = [float(x**2 / (g[g >= x] ** 2).sum()) for x in g]
    assert scaled({"a": g}, "lamp")["a"].tolist() == pytest.approx(expected)
    assert scaled({"a": 5 * g}, "lamp")["a"].tolist() == pytest.approx(expected)  # whatever the layer's scale
