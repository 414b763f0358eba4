"""Eq. 10 and 11, the guards, and the controls' masks."""

import numpy as np
import pytest
import torch

from mer_lightning.model.base import Architecture
from mer_lightning.model.hierarchical import HierarchicalNetwork
from mer_lightning.pnao import global_masks, node_importance
from mer_lightning.pnao.importance import group_importances
from mer_lightning.pnao.masks import emptied_layers, guard_masks, quota_masks, random_masks


def test_importance_is_equation_10() -> None:
    weight = torch.randn(6, 9)
    np.testing.assert_allclose(node_importance(weight), np.abs(weight.numpy()).mean(1), rtol=1e-6)
    assert node_importance(torch.empty(3, 0)).tolist() == [0, 0, 0]


def test_tied_nodes_have_the_mean_importance() -> None:
    network = HierarchicalNetwork(Architecture({"a": 5}, {"x": 4}, classes=3, dimension=8))
    encoders = network.branches[0].gathering.encoders
    expected = (encoders[0][3].weight.abs().mean(1) + encoders[1][3].weight.abs().mean(1)) / 2
    torch.testing.assert_close(group_importances(network)["a/gathered"], expected.detach())


def test_masks_are_equation_11_over_all_layers() -> None:
    importances = {"one": torch.tensor([1.0, 0.05, 0.049]), "two": torch.tensor([0.02, 0.5])}
    masks = global_masks(importances, 0.05)
    assert masks["one"].tolist() == [True, True, False]
    assert masks["two"].tolist() == [False, True]


def test_rate_zero_keeps_everything_even_dead_nodes() -> None:
    masks = global_masks({"one": torch.tensor([0.0, 1.0])}, 0.0)
    assert masks["one"].all()


@pytest.mark.parametrize(
    ("min_width", "max_share", "kept"), [(3, 1.0, 3), (1, 0.5, 5), (1, 1.0, 1), (99, 1.0, 10)]
)
def test_guards_give_back_the_strongest(min_width: int, max_share: float, kept: int) -> None:
    importances = {"layer": torch.arange(10.0)}
    masks = {"layer": torch.arange(10) == 9}
    guarded, notes = guard_masks(masks, importances, min_width, max_share)
    assert guarded["layer"].nonzero().squeeze(1).tolist() == list(range(10 - kept, 10))
    assert bool(notes) == (kept > 1)


def test_guards_leave_moderate_masks_alone() -> None:
    masks = {"layer": torch.arange(10) >= 2}
    guarded, notes = guard_masks(masks, {"layer": torch.rand(10)}, 4, 0.5)
    assert guarded["layer"].equal(masks["layer"])
    assert notes == []


def test_an_emptied_encoder_is_named() -> None:
    masks = {"low/encoder/face": torch.zeros(4).bool(), "low/gathered": torch.ones(2).bool()}
    (note,) = emptied_layers(masks)
    assert note.startswith("the encoder of 'face' in branch 'low' has no node left")


def test_controls_keep_the_asked_number() -> None:
    importances = {"one": torch.tensor([0.3, 0.1, 0.2]), "two": torch.rand(50)}
    keep = {"one": 2, "two": 20}
    quota = quota_masks(importances, keep)
    assert quota["one"].tolist() == [True, False, True]
    drawn = random_masks(importances, keep, seed=1)
    assert {k: int(m.sum()) for k, m in drawn.items()} == keep
    assert drawn["two"].equal(random_masks(importances, keep, seed=1)["two"])
    assert not drawn["two"].equal(random_masks(importances, keep, seed=2)["two"])
    assert not drawn["two"].equal(quota["two"])
