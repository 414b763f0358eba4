"""The masked and the compact network are the same function."""

import pytest
import torch
from torch import Tensor

from mer_lightning.model.base import Architecture, count_nodes
from mer_lightning.model.hierarchical import HierarchicalNetwork
from mer_lightning.pnao import compact, global_masks
from mer_lightning.pnao.compact import kept_in, masked, take
from mer_lightning.pnao.importance import group_importances

SHAPES = [
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
        fusion_options={"weights": [1, 2]},
    ),
]


def random_masks(network: HierarchicalNetwork, share: float, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {g.name: torch.rand(g.width, generator=generator) < share for g in network.node_groups()}


def features(a: Architecture) -> dict[str, Tensor]:
    return {name: torch.randn(11, d) for name, d in (a.levels | a.shared).items()}


@pytest.mark.parametrize("architecture", SHAPES)
@pytest.mark.parametrize("share", [0.0, 0.3, 0.8, 1.0])
def test_compact_equals_masked(architecture: Architecture, share: float) -> None:
    torch.manual_seed(1)
    network = HierarchicalNetwork(architecture).eval()
    x = features(architecture)
    for step in range(3):  # as over rounds: prune what is pruned already
        masks = random_masks(network, share, step)
        before = {k: v.clone() for k, v in network.state_dict().items()}
        narrow = compact(network, masks)
        for got, expected in zip(narrow(x), masked(network, masks)(x), strict=True):
            torch.testing.assert_close(got, expected, atol=1e-6, rtol=0)
        assert count_nodes(narrow) == sum(int(m.sum()) for m in masks.values())
        assert all(before[k].equal(v) for k, v in network.state_dict().items())
        network = narrow


@pytest.mark.parametrize("architecture", SHAPES)
def test_heads_keep_their_outputs(architecture: Architecture) -> None:
    network = HierarchicalNetwork(architecture)
    narrow = compact(network, global_masks(group_importances(network), 0.9))
    for name, module in narrow.named_modules():
        if isinstance(module, torch.nn.Linear) and ("decoder" in name or "score" in name):
            full = network.get_parameter(f"{name}.weight")
            assert module.out_features == full.shape[0]
            for column in module.weight.T:  # every column that is left is one of the full network's
                assert (column == full.T).all(dim=1).any()


def test_a_wrong_declaration_would_be_seen() -> None:
    """The gathered nodes are read once per feature set: without the offsets, outputs differ."""
    network = HierarchicalNetwork(SHAPES[1]).eval()
    gathered = next(g for g in network.node_groups() if g.name == "a/gathered")
    assert [c.offset for c in gathered.consumers if c.layer.endswith("attention.0")] == [0, 8]
    masks = {g.name: torch.ones(g.width, dtype=torch.bool) for g in network.node_groups()}
    masks["a/gathered"][3] = False
    columns = kept_in(network, masks)["branches.0.gathering.attention.0"].columns
    assert columns is not None
    assert sorted(set(range(16)) - set(columns.tolist())) == [3, 11]


def test_moments_are_cut_like_their_weights() -> None:
    """take() on any tensor of a layer's shape picks what compact() picks of the layer."""
    network = HierarchicalNetwork(SHAPES[2])
    masks = random_masks(network, 0.5)
    narrow, kept = compact(network, masks), kept_in(network, masks)
    for name, parameter in network.named_parameters():
        layer = name.rpartition(".")[0]
        if layer in kept:
            assert take(parameter.detach(), kept[layer]).equal(narrow.get_parameter(name))
