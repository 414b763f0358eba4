"""Algorithm 1: each round begins at the early-stop point of the one before, without the masked nodes."""

from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn

from mer_lightning.pnao import PNAO, chain, compact, global_masks, weight_importance
from tests.pnao.nets import LAYERS, Regression, Scripted, fit, new, same, train


class Keeper(L.Callback):
    """Copies of the weights: as a fit begins, and at the end of each epoch."""

    def __init__(self) -> None:
        self.began: dict[str, Tensor] = {}
        self.epochs: list[dict[str, Tensor]] = []

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.began, self.epochs = copied(pl_module), []

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.sanity_checking:
            self.epochs.append(copied(pl_module))


def copied(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(a[name].equal(b[name]) for name in a)


@pytest.mark.parametrize(
    ("mode", "scores", "best"),
    [
        ("max", [1.0, 3.0, 3.0, 2.0], 1),
        ("min", [2.0, 1.0, 1.0, 3.0], 1),
        ("max", [-4.0, -3.0, -2.0, -1.0], 3),
        ("min", [-1.0, 0.0, 5.0, -1.0], 0),
        ("max", [float("nan"), 0.5, float("nan"), 0.5], 1),
    ],
)
def test_the_early_stop_point_is_the_best_epoch_and_of_equals_the_first(
    mode: str, scores: list[float], best: int, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    module, keeper = Scripted(scores), Keeper()
    checkpoint = ModelCheckpoint(tmp_path, monitor="val_loss", mode=mode, save_top_k=1)
    pnao = PNAO(rounds=0, mode=mode)
    train(pnao, module, keeper, checkpoint, max_epochs=4, enable_checkpointing=True)
    assert pnao.history[0]["score"] == scores[best]
    assert equal(copied(module), keeper.epochs[best])
    assert len({float(state["net.0.weight"].sum()) for state in keeper.epochs}) == 4
    if not np.isnan(scores).any():  # which Lightning's callback takes for an improvement
        saved = torch.load(checkpoint.best_model_path, weights_only=True)["state_dict"]
        assert equal(copied(module), saved)


def test_a_round_begins_at_the_early_stop_point_without_the_masked_nodes() -> None:
    """Eq. 10 and 11 are taken of the best epoch's weights, not of the last's."""
    torch.manual_seed(1)
    module, keeper, pnao = Scripted([1.0, 0.5, 2.0]), Keeper(), PNAO(rate=0.45, rounds=2)
    expected, widths = copied(module), []
    for _ in pnao.rounds(module):
        fit(pnao, module, keeper)
        assert equal(keeper.began, expected)
        best = Regression(module.net)
        best.load_state_dict(keeper.epochs[1])
        masks = global_masks(weight_importance(best, chain(*LAYERS)), 0.45)
        widths.append({group: len(mask) for group, mask in masks.items()})
        expected = copied(compact(best, masks))
    assert [record["widths"] for record in pnao.history] == widths
    assert widths[0] == {"net.0": 8, "net.3": 6}
    assert sum(widths[1].values()) < 14
    assert equal(copied(module), keeper.epochs[1])  # the last round's early-stop point


def test_history_tells_the_sizes() -> None:
    pnao, module = PNAO(rate=0.5, rounds=2, max_share=0.5, min_width=3), new()
    train(pnao, module)
    assert [record["round"] for record in pnao.history] == [0, 1, 2]
    for record in pnao.history:
        a, b = record["widths"].values()
        assert record["macs"] == 5 * a + a * b + b * 2
        assert record["parameters"] == record["prunable"] == 6 * a + (a + 1) * b + (b + 1) * 2
        assert record["density"] == {"net.0": a / 8, "net.3": b / 6}
        assert 0 <= record["difference"] < 1e-6
        assert np.isfinite(record["score"])
    assert pnao.history[-1]["parameters"] == sum(p.numel() for p in module.parameters())
    assert pnao.history[-1]["parameters"] < pnao.history[0]["parameters"]


def test_the_guards_act_and_are_noted_with_the_round_they_made() -> None:
    pnao = PNAO(rate=0.95, rounds=1, min_width=5, max_share=1.0)
    train(pnao, new())
    assert pnao.history[1]["widths"] == {"net.0": 5, "net.3": 5}
    assert pnao.history[0]["notes"] == []
    assert all("the guard keeps 5" in note for note in pnao.history[1]["notes"])
    assert len(pnao.history[1]["notes"]) == 2


def test_the_last_round_has_the_share_that_is_to_be_kept() -> None:
    pnao = PNAO(keep=0.4, rounds=3, scale="layer")
    train(pnao, new())
    left = [record["prunable"] / pnao.history[0]["prunable"] for record in pnao.history]
    assert left == sorted(left, reverse=True)
    for number, share in enumerate(left):
        assert share <= 0.4 + 0.6 * (1 - number / 3) ** 3 + 1e-9
    assert left[-1] > 0.25


def test_nothing_leaks_into_a_second_use() -> None:
    """The same callback on another module: carried state, notes and history of the first are gone."""
    pnao = PNAO(rate=0.5, rounds=1, optimizer="carry")
    first = train(pnao, new())
    told = pnao.history
    second = train(pnao, new())
    assert same(first, second)
    assert pnao.history == told


def test_parameters_that_are_no_weights_of_nodes_stay() -> None:
    pnao, module = PNAO(rate=0.9, rounds=1), new()
    module.extra = nn.Parameter(torch.arange(3.0))
    kept = module.extra
    train(pnao, module)
    assert module.extra is kept
    assert module.net.get_submodule("6").out_features == 2


def test_without_nodes_the_rounds_are_rewinding_alone() -> None:
    from mer_lightning.pnao import Nodes

    pnao = PNAO(Nodes({}, {}), rounds=1, keep=0.5)
    train(pnao, new())
    assert [record["parameters"] for record in pnao.history] == [116, 116]


def test_validating_between_rounds_changes_nothing() -> None:
    a, b = (PNAO(rate=0.5, rounds=1) for _ in range(2))
    first = train(a, new())
    second = new()
    for _ in b.rounds(second):
        found = fit(b, second)
        score = b.history[-1]["score"]
        validation = Scripted([-1.0] * 4)  # better than any
        found.validate(validation, torch.utils.data.DataLoader([torch.zeros(1)]), verbose=False)
        torch.rand(5)  # and random numbers are used up
        assert b.history[-1]["score"] == score
    assert same(first, second)
