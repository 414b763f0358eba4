"""The masked and the narrow network are the same function."""

import contextlib
import copy

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from mer_lightning.model.base import Architecture, count_nodes
from mer_lightning.model.hierarchical import HierarchicalNetwork
from mer_lightning.pnao import Nodes, NodesError, chain, compact, fit_widths, global_masks, weight_importance
from mer_lightning.pnao.compact import kept_in, masked_state, narrow_while, prunable_parameters, take
from mer_lightning.pnao.layers import axes
from mer_lightning.pnao.masks import even_groups
from mer_lightning.pnao.nodes import norm_parts, widths
from tests.pnao.architectures import CASES, GROUPED, RESIDUAL, Residual, group_norm, lively

HIERARCHICAL = [
    Architecture({"a": 5}, {}, classes=2, dimension=4),
    Architecture({"a": 5, "b": 3}, {"x": 6}, classes=6, dimension=8),
    Architecture({"a": 50, "b": 30, "c": 20}, {"x": 60, "y": 9}, classes=8, dimension=32, fusion="attention"),
    Architecture(
        {"a": 5, "b": 3},
        {"x": 6},
        classes=3,
        dimension=8,
        softmax=False,
        fusion="linear",
        options={"weights": [1, 2]},
    ),
    Architecture({"a": 5, "b": 3}, {"x": 6}, classes=3, dimension=8, inputs=True),
]


def some(net: nn.Module, nodes: Nodes, share: float, seed: int, least: int = 1) -> dict[str, Tensor]:
    """Random masks that keep about ``share`` of each group, and ``least`` nodes."""
    generator = torch.Generator().manual_seed(seed)
    drawn = {group: torch.rand(width, generator=generator) for group, width in widths(net, nodes).items()}
    masks = {group: x <= max(share, *x.sort().values[:least].tolist(), 0) for group, x in drawn.items()}
    return masks | {g: even_groups(masks[g], -drawn[g], n) for g, n in norm_parts(net, nodes).items()}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("share", [0.0, 0.4, 0.8, 1.0])
def test_narrow_equals_masked(name: str, share: float) -> None:
    case = CASES[name]
    net, x = lively(case)
    for turn in range(3):  # as over rounds: prune what is pruned already
        masks = some(net, case.nodes, share, turn)
        before = {k: v.clone() for k, v in net.state_dict().items()}
        narrow = compact(net, masks, case.nodes)
        masked = functional_call(net, masked_state(net, case.nodes, masks), (x,))
        if case.exact or all(mask.all() for mask in masks.values()):
            torch.testing.assert_close(narrow(x), masked, atol=2e-6, rtol=1e-5)
        else:
            assert narrow(x).isfinite().all()
        assert widths(narrow, case.nodes) == {group: int(mask.sum()) for group, mask in masks.items()}
        assert all(before[k].equal(v) for k, v in net.state_dict().items())  # left as it was
        assert sum(p.numel() for p in narrow.parameters()) == prunable_parameters(
            net, case.nodes, widths(narrow, case.nodes)
        )
        narrow.train()(x)  # also trains
        net = narrow.eval()


@pytest.mark.parametrize("architecture", HIERARCHICAL)
@pytest.mark.parametrize("share", [0.0, 0.3, 0.8, 1.0])
def test_narrow_equals_masked_in_the_hierarchical_network(architecture: Architecture, share: float) -> None:
    torch.manual_seed(1)
    net: HierarchicalNetwork = HierarchicalNetwork(architecture).eval()
    x = {name: torch.randn(11, d) for name, d in (architecture.levels | architecture.shared).items()}
    for turn in range(3):
        nodes = net.node_groups()
        masks = some(net, nodes, share, turn, least=0)  # linear layers may lose all their nodes
        narrow = compact(net, masks)
        masked = functional_call(net, masked_state(net, nodes, masks), (x,))
        for got, expected in zip(narrow(x), masked, strict=True):
            torch.testing.assert_close(got, expected, atol=1e-6, rtol=0)
        assert count_nodes(narrow) == sum(int(m.sum()) for m in masks.values())
        net = narrow


@pytest.mark.parametrize("architecture", HIERARCHICAL)
def test_heads_keep_their_outputs_and_read_what_was_there(architecture: Architecture) -> None:
    net = HierarchicalNetwork(architecture)
    narrow = compact(net, global_masks(weight_importance(net, net.node_groups()), 0.9))
    for name, module in narrow.named_modules():
        if isinstance(module, nn.Linear) and ("decoder" in name or "score" in name):
            full = net.get_parameter(f"{name}.weight")
            assert module.out_features == full.shape[0]
            for column in module.weight.T:
                assert (column == full.T).all(dim=1).any()


def test_tied_encoders_are_read_once_for_each_of_them() -> None:
    """Node j of two encoders of width 8 is columns j and 8 + j of what reads their concatenation."""
    net = HierarchicalNetwork(HIERARCHICAL[1])
    nodes = net.node_groups()
    masks = {group: torch.ones(width, dtype=torch.bool) for group, width in widths(net, nodes).items()}
    masks["a/gathered"][3] = False
    kept = kept_in(nodes, masks)
    columns = kept["branches.0.gathering.attention.0"].inputs
    assert columns is not None
    assert sorted(set(range(16)) - set(columns.tolist())) == [3, 11]
    for s in (0, 1):
        rows = kept[f"branches.0.gathering.encoders.{s}.3"].nodes
        assert rows is not None
        assert sorted(set(range(8)) - set(rows.tolist())) == [3]


def test_running_statistics_go_with_their_channels() -> None:
    net, _ = lively(CASES["residual"])
    mask = torch.tensor([True, False, True, True, False, True])
    masks = {"stream": mask, "inner": torch.ones(5).bool(), "head": torch.ones(7).bool()}
    narrow = compact(net, masks, RESIDUAL)
    for name in ("stem_norm", "outer_norm"):
        for tensor in ("running_mean", "running_var", "weight", "bias"):
            assert getattr(narrow.get_submodule(name), tensor).equal(
                getattr(net.get_submodule(name), tensor)[mask]
            )
    assert narrow.get_submodule("stem_norm").num_features == 4


@pytest.mark.parametrize("name", CASES)
def test_fit_widths_makes_room_for_a_narrow_state(name: str) -> None:
    """Also where a GroupNorm's groups have shrunk to one channel each, and gone on shrinking."""
    case = CASES[name]
    narrow, x = lively(case)
    for turn in range(3):
        narrow = compact(narrow, some(narrow, case.nodes, 0.6, turn), case.nodes)
    fresh = case.make().eval()
    fit_widths(fresh, narrow.state_dict(), case.nodes)
    fresh.load_state_dict(narrow.state_dict())
    assert fresh(x).equal(narrow(x))


def test_fit_widths_refuses_what_is_wider_or_another_network() -> None:
    nodes = chain("0", "2")
    small, large = (nn.Sequential(nn.Linear(3, n), nn.ReLU(), nn.Linear(n, 2)) for n in (4, 5))
    with pytest.raises(NodesError, match="'0': the saved state has no weight of at most 4 nodes"):
        fit_widths(small, large.state_dict(), nodes)
    with pytest.raises(NodesError, match="'0': the saved state has no weight"):
        fit_widths(small, {}, nodes)


@pytest.mark.parametrize("name", CASES)
def test_what_is_narrow_for_a_while_comes_back(name: str) -> None:
    case = CASES[name]
    net, x = lively(case)
    parameters, before, told = dict(net.named_parameters()), copy.deepcopy(net.state_dict()), repr(net)
    masks = some(net, case.nodes, 0.5, 0)
    expected = compact(net, masks, case.nodes)(x)
    with contextlib.suppress(ZeroDivisionError), narrow_while(net, case.nodes, masks):
        assert net(x).equal(expected)
        raise ZeroDivisionError  # it comes back after an error too
    assert repr(net) == told
    assert all(parameters[k] is v for k, v in net.named_parameters())  # an optimizer would go on with them
    assert all(before[k].equal(v) for k, v in net.state_dict().items())


def test_optimizer_state_is_cut_like_its_weights() -> None:
    """take() on any tensor of a parameter's shape picks what compact() picks of the parameter."""
    net, _ = lively(CASES["residual"])
    masks = some(net, RESIDUAL, 0.5, 0)
    narrow, kept = compact(net, masks, RESIDUAL), kept_in(RESIDUAL, masks)
    for name, parameter in net.named_parameters():
        layer, _, tensor = name.rpartition(".")
        cut = take(parameter.detach(), axes(net.get_submodule(layer))[tensor], kept[layer], parameter)
        assert cut.equal(narrow.get_parameter(name))


def test_what_needs_no_gradient_goes_on_needing_none() -> None:
    net = Residual()
    net.stem.weight.requires_grad_(False)
    narrow = compact(net, some(net, RESIDUAL, 0.5, 0), RESIDUAL)
    assert not narrow.stem.weight.requires_grad
    assert narrow.outer.weight.requires_grad


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        ({}, r"'c': expected a bool mask of shape \(8,\), found none"),
        ({"c": torch.ones(8)}, "found torch.float32"),
        ({"c": torch.ones(7).bool()}, r"found torch.bool \(7,\)"),
        ({"c": torch.ones(8).bool(), "d": torch.ones(1).bool()}, "a mask for 'd', which is not a group"),
        (
            {"c": torch.arange(8) < 6},
            "'c': the mask must keep as many nodes in each of its GroupNorm's 2 parts",
        ),
        ({"c": torch.zeros(8).bool()}, "'c': a convolution needs a node"),
    ],
)
def test_masks_that_do_not_fit_are_refused(masks: dict[str, Tensor], message: str) -> None:
    with pytest.raises(NodesError, match=message):
        compact(group_norm(2)(), masks, GROUPED)
