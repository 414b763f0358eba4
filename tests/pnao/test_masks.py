"""Eq. 10, Eq. 11, the guards, the schedule by target, and the masks of controls."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from mer_lightning.pnao import Nodes, NodesError, chain, global_masks, node_importance, weight_importance
from mer_lightning.pnao.compact import prunable_parameters
from mer_lightning.pnao.importance import scaled
from mer_lightning.pnao.masks import (
    even_groups,
    guard_masks,
    random_masks,
    share_left,
    target_masks,
    top_k,
    top_k_masks,
)
from mer_lightning.pnao.rule import Rule
from tests.pnao.nets import Regression, mlp


@pytest.mark.parametrize("shape", [(6, 9), (4, 3, 5), (4, 3, 3, 2)])
def test_equation_10(shape: tuple[int, ...]) -> None:
    """The mean over n of |W(j, n)|: neither the sum, nor the squares, nor over j."""
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    expected = np.abs(weight.numpy()).reshape(shape[0], -1).mean(axis=1)
    np.testing.assert_allclose(node_importance(weight), expected, rtol=1e-6)
    assert node_importance(torch.empty(3, 0)).tolist() == [0, 0, 0]


def test_equation_11() -> None:
    """Against numpy, at and just below the threshold."""
    rng = np.random.default_rng(0)
    g = {name: rng.random(width).astype(np.float32) for name, width in (("a", 50), ("b", 7), ("c", 1))}
    for rate in (0.0, 0.05, 0.5, 0.999):
        masks = global_masks({name: torch.from_numpy(x) for name, x in g.items()}, rate)
        threshold = np.float32(rate * float(max(x.max() for x in g.values())))
        for name, x in g.items():
            np.testing.assert_array_equal(masks[name], x >= threshold)
    edge = global_masks({"a": torch.tensor([1.0, 0.25, 0.2499])}, 0.25)
    assert edge["a"].tolist() == [True, True, False]


def test_equation_11s_maximum_is_over_all_groups() -> None:
    """By its own layer's maximum every node of the weak group would stay."""
    masks = global_masks({"strong": torch.tensor([10.0, 9.0]), "weak": torch.tensor([0.9, 1.0])}, 0.1)
    assert masks["strong"].tolist() == [True, True]
    assert masks["weak"].tolist() == [False, True]


def test_rate_zero_keeps_even_dead_nodes() -> None:
    assert global_masks({"one": torch.tensor([0.0, 1.0])}, 0.0)["one"].all()
    assert global_masks({}, 0.5) == {}


def test_tied_nodes_have_the_mean_importance_and_norms_do_not_count() -> None:
    net = nn.ModuleDict({"a": nn.Linear(3, 4), "b": nn.Linear(7, 4), "norm": nn.LayerNorm(4)})
    net["embedding"], net["out"] = nn.Embedding(5, 4), nn.Linear(4, 1)
    nodes = Nodes({"tied": ("norm", "a", "b", "embedding")}, {"out": ("tied",)})
    rows = [np.abs(net[name].weight.detach().numpy()).mean(axis=1) for name in ("a", "b")]
    columns = np.abs(net["embedding"].weight.detach().numpy()).mean(axis=0)
    found = weight_importance(net, nodes)["tied"].detach()
    np.testing.assert_allclose(found, np.mean([*rows, columns], axis=0), rtol=1e-6)


def test_the_layers_scale_does_not_see_a_layers_size() -> None:
    net = mlp()
    nodes = chain("0", "3", "6")
    before = {scale: scaled(weight_importance(net, nodes), scale) for scale in ("none", "layer")}
    with torch.no_grad():
        net[3].weight.mul_(64)  # a power of two, so that nothing is rounded
    after = {scale: scaled(weight_importance(net, nodes), scale) for scale in ("none", "layer")}
    assert after["none"]["3"].equal(64 * before["none"]["3"])
    for group in nodes.groups:
        assert after["layer"][group].equal(before["layer"][group])
        assert float(after["layer"][group].mean()) == pytest.approx(1)
    assert scaled({"dead": torch.zeros(3)}, "layer")["dead"].tolist() == [0, 0, 0]


def test_top_k_gives_ties_to_the_lower_index() -> None:
    assert top_k(torch.tensor([1.0, 3.0, 1.0, 3.0, 1.0]), 3).tolist() == [True, True, False, True, False]
    assert top_k(torch.ones(5000), 7).nonzero().squeeze(1).tolist() == list(range(7))
    assert not top_k(torch.ones(3), 0).any()


@pytest.mark.parametrize(
    ("min_width", "max_share", "kept"), [(3, 1.0, 3), (1, 0.5, 5), (1, 1.0, 1), (99, 1.0, 10), (0, 0.0, 10)]
)
def test_guards_give_back_the_most_important(min_width: int, max_share: float, kept: int) -> None:
    importances = {"layer": torch.arange(10.0)}
    guarded, notes = guard_masks({"layer": torch.arange(10) == 9}, importances, min_width, max_share)
    assert guarded["layer"].nonzero().squeeze(1).tolist() == list(range(10 - kept, 10))
    told = [f"layer: the rule keeps 1 of 10 nodes, the guard keeps {kept}"]
    assert notes == (told if kept > 1 else [])


def test_guards_leave_moderate_masks_alone_and_name_an_emptied_group() -> None:
    mask = torch.arange(10) >= 2
    assert guard_masks({"layer": mask}, {"layer": torch.rand(10)}, 4, 0.5) == ({"layer": mask}, [])
    guarded, notes = guard_masks({"face": torch.zeros(4).bool()}, {"face": torch.rand(4)}, 0, 1.0)
    assert not guarded["face"].any()
    assert notes == ["face: dropped as a whole, no node is left; it passes on a constant"]


def test_controls_keep_the_asked_number() -> None:
    importances = {"one": torch.tensor([0.3, 0.1, 0.2]), "two": torch.rand(50)}
    keep = {"one": 2, "two": 20}
    best = top_k_masks(importances, keep)
    assert best["one"].tolist() == [True, False, True]
    drawn = random_masks(importances, keep, seed=1)
    assert {name: int(mask.sum()) for name, mask in drawn.items()} == keep
    assert drawn["two"].equal(random_masks(importances, keep, seed=1)["two"])
    assert not drawn["two"].equal(random_masks(importances, keep, seed=2)["two"])
    assert not drawn["two"].equal(best["two"])


def test_even_groups_keep_the_best_of_each_part() -> None:
    importance = torch.tensor([5.0, 1.0, 4.0, 2.0, 0.1, 0.2])
    mask = even_groups(importance >= 2, importance, 2)  # 2 of the first three, 1 of the last
    assert mask.tolist() == [True, False, True, True, False, True]


def test_share_left_is_cubic() -> None:
    assert [share_left(0.2, n, 4) for n in (0, 4)] == pytest.approx([1.0, 0.2])
    assert share_left(0.2, 1, 4) == pytest.approx(0.2 + 0.8 * 0.75**3)
    steps = np.diff([share_left(0.2, n, 10) for n in range(11)])
    assert (steps < 0).all()
    assert (np.diff(steps) > 0).all()  # most in the first rounds


def test_target_masks_fit_the_budget_and_one_node_more_would_not() -> None:
    generator = torch.Generator().manual_seed(0)
    g = {"a": torch.rand(30, generator=generator), "b": torch.rand(20, generator=generator)}

    def size(widths: dict[str, int]) -> int:
        return 7 * widths["a"] + widths["a"] * widths["b"] + 3 * widths["b"]

    for budget in (size({"a": 30, "b": 20}), 500, 123, 7):
        masks = target_masks(g, budget, size)
        widths = {name: int(mask.sum()) for name, mask in masks.items()}
        assert size(widths) <= budget
        gone = {name: x[~masks[name]].max() for name, x in g.items() if not masks[name].all()}
        if gone:
            assert min(x[masks[name]].min() for name, x in g.items() if masks[name].any()) > max(
                gone.values()
            )
            following = max(gone, key=lambda name: float(gone[name]))
            assert size(widths | {following: widths[following] + 1}) > budget
    assert sum(int(mask.sum()) for mask in target_masks(g, 0, size).values()) == 1  # nothing fits
    assert target_masks({}, 10, size) == {}


def test_the_rule_by_target_reaches_its_share() -> None:
    from mer_lightning.pnao.compact import compact, prunable_parameters

    torch.manual_seed(0)
    module = Regression(
        nn.Sequential(nn.Linear(50, 40), nn.ReLU(), nn.Linear(40, 30), nn.ReLU(), nn.Linear(30, 2))
    )
    nodes = chain("net.0", "net.2", "net.4")
    full = prunable_parameters(module, nodes, {"net.0": 40, "net.2": 30})
    rule = Rule(rate=0.0, rounds=2, scale="layer", keep=0.25, min_width=1, max_share=1.0)
    for number, share in ((1, 0.25 + 0.75 / 8), (2, 0.25)):
        masks, notes = rule(weight_importance(module, nodes), number, module, nodes, full)
        left = sum(p.numel() for p in compact(module, masks, nodes).parameters())
        assert share - 0.02 < left / full <= share
        assert notes == []


def test_the_rule_keeps_groupnorms_parts_equal() -> None:
    net = nn.Sequential(nn.Conv1d(3, 8, 1), nn.GroupNorm(4, 8), nn.GroupNorm(2, 8), nn.Conv1d(8, 2, 1))
    nodes = Nodes({"c": ("0", "1", "2")}, {"3": ("c",)})
    rule = Rule(rate=0.5, rounds=1, scale="none", keep=None, min_width=1, max_share=1.0)
    importances = {"c": torch.tensor([9.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 2.0])}
    masks, _ = rule(importances, 1, net, nodes, 0)
    assert masks["c"].tolist() == [True, False, True, False, True, False, False, True]  # one of each quarter


def test_wrong_importances_are_named() -> None:
    from mer_lightning.pnao.importance import check_importances

    module = Regression()
    good = {"net.0": torch.rand(8), "net.3": torch.rand(6)}
    check_importances(module, chain("net.0", "net.3", "net.6"), good)
    bads: list[dict[str, Any]] = [
        {"net.3": torch.rand(7)}, {"net.3": torch.full((6,), torch.nan)}, {}, {"net.3": -torch.rand(6)},
        {"net.3": np.ones(6)},
    ]  # fmt: skip
    for bad in bads:
        wrong = {"net.0": good["net.0"], **bad}
        with pytest.raises(NodesError, match=r"group 'net.3': expected a Tensor \(6,\) of importances"):
            check_importances(module, chain("net.0", "net.3", "net.6"), wrong)


def test_a_budget_is_met_where_the_parts_of_a_norm_stay_even() -> None:
    net = nn.Sequential(nn.Conv1d(3, 16, 1), nn.GroupNorm(4, 16), nn.Conv1d(16, 16, 1), nn.Conv1d(16, 2, 1))
    nodes = Nodes({"a": ("0", "1"), "b": ("2",)}, {"2": ("a",), "3": ("b",)})
    torch.manual_seed(0)
    importances = {"a": torch.rand(16), "b": torch.rand(16)}
    full = prunable_parameters(net, nodes, {"a": 16, "b": 16})
    rule = Rule(0.05, 1, "none", 0.3, 1, 1.0)
    masks, notes = rule(importances, 1, net, nodes, full)
    left = prunable_parameters(net, nodes, {group: int(mask.sum()) for group, mask in masks.items()})
    assert 0.15 * full < left <= 0.3 * full
    assert len({*masks["a"].view(4, 4).sum(dim=1).tolist()}) == 1
    assert notes == []
