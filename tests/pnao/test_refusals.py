"""Fits and settings that cannot go together with rounds are refused, and say what to do."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import (
    EMAWeightAveraging,
    ModelPruning,
    StochasticWeightAveraging,
    WeightAveraging,
)
from lightning.pytorch.strategies import DDPStrategy, DeepSpeedStrategy, FSDPStrategy
from torch import Tensor

from mer_lightning.pnao import PNAO, Nodes
from mer_lightning.pnao.checks import check_fit
from tests.pnao.nets import Regression, adam, fit, loaders, new, train, trainer


def refused(
    error: type[Exception], message: str, module: Regression, turn: Callable[[PNAO], Any], **settings: Any
) -> None:
    """Round 0's fit is refused, and no weight has changed."""
    pnao = PNAO(rounds=1, **settings)
    before = [p.clone() for p in module.parameters()]
    next(pnao.rounds(module))
    with pytest.raises(error, match=message):
        turn(pnao)
    assert all(a.equal(b) for a, b in zip(before, module.parameters(), strict=True))


@pytest.mark.parametrize(
    "bad",
    [
        {"rate": 1.0},
        {"rate": -0.1},
        {"rounds": -1},
        {"rounds": 2.5},
        {"alpha": -1e-5},
        {"alpha": float("nan")},
        {"alpha": float("inf")},
        {"mode": "best"},
        {"scale": "size"},
        {"keep": 0.0},
        {"keep": 1.5},
        {"min_width": -1},
        {"max_share": 1.5},
        {"rewind_epoch": -1},
        {"rewind_epoch": 1.5},
        {"optimizer": "keep"},
    ],
)
def test_values_that_make_no_sense_are_named(bad: dict[str, Any]) -> None:
    ((name, value),) = bad.items()
    with pytest.raises(ValueError, match=f"PNAO: {name}={value!r} is not valid"):
        PNAO(**bad)


@pytest.mark.parametrize(
    ("callback", "name"),
    [
        (lambda: StochasticWeightAveraging(0.1), "StochasticWeightAveraging"),
        (WeightAveraging, "WeightAveraging"),
        (EMAWeightAveraging, "EMAWeightAveraging"),
        (lambda: ModelPruning("l1_unstructured"), "ModelPruning"),
    ],
)
def test_other_callbacks_that_change_weights_are_refused(callback: Any, name: str) -> None:
    message = f"PNAO: {name} also changes the weights; remove it"
    module = new()
    refused(ValueError, message, module, lambda pnao: fit(pnao, module, callback()))


def test_manual_optimization_is_refused() -> None:
    module = new()
    module.automatic_optimization = False
    refused(ValueError, "manual optimization has no step", module, lambda pnao: fit(pnao, module))


@pytest.mark.parametrize("strategy", [FSDPStrategy, DeepSpeedStrategy])
def test_strategies_that_split_parameters_are_refused(strategy: type[Any]) -> None:
    pnao, module, found = PNAO(), new(), trainer()
    next(pnao.rounds(module))
    found.strategy.__class__ = strategy  # neither can be made without GPUs
    with pytest.raises(ValueError, match=f"PNAO: {strategy.__name__} keeps parts of the parameters"):
        check_fit(pnao.number, pnao.store, found, module)


def test_spawned_processes_need_a_folder(tmp_path: Path) -> None:
    found = trainer(strategy=DDPStrategy(start_method="spawn"))
    for dirpath in (None, tmp_path):
        pnao, module = PNAO(dirpath=dirpath), new()
        next(pnao.rounds(module))
        if dirpath is None:
            with pytest.raises(ValueError, match="spawned processes keep their rounds to themselves; give"):
                check_fit(pnao.number, pnao.store, found, module)
        else:
            check_fit(pnao.number, pnao.store, found, module)


def test_a_checkpoint_to_go_on_from_is_refused(tmp_path: Path) -> None:
    module = new()
    path = tmp_path / "some.ckpt"
    found = trainer(max_epochs=1)
    found.fit(module, *loaders())
    found.save_checkpoint(path)

    def go_on(pnao: PNAO) -> None:
        trainer(pnao).fit(module, *loaders(), ckpt_path=path, weights_only=True)

    refused(
        ValueError, r"rounds are resumed by pnao.rounds\(module\); call fit without ckpt_path", module, go_on
    )


@pytest.mark.parametrize("kept", [False, True])
def test_only_one_fit_in_a_turn_and_none_outside(kept: bool, tmp_path: Path) -> None:
    pnao, module = PNAO(rounds=1, dirpath=tmp_path if kept else None), new()
    outside = r"PNAO: a fit outside of a round; loop over pnao.rounds\(module\)"
    with pytest.raises(RuntimeError, match=outside):
        fit(pnao, module)
    for _ in pnao.rounds(module):
        fit(pnao, module)
        with pytest.raises(RuntimeError, match=outside):
            fit(pnao, module)
    with pytest.raises(RuntimeError, match=outside):
        fit(pnao, module)
    assert len(pnao.history) == 2


def test_a_turn_without_a_fit_is_refused() -> None:
    pnao, module = PNAO(rounds=1), new()
    turns = pnao.rounds(module)
    next(turns)
    with pytest.raises(RuntimeError, match="round 0 was not trained: call Trainer"):
        next(turns)


def test_a_trainer_that_has_trained_is_refused() -> None:
    """Lightning would train nothing, or one epoch with the patience of the round before."""
    pnao, module = PNAO(rounds=1), new()
    turns = pnao.rounds(module)
    next(turns)
    found = fit(pnao, module)
    next(turns)
    with pytest.raises(RuntimeError, match="this Trainer has trained before"):
        found.fit(module, *loaders())


def test_a_monitor_that_is_not_logged_is_refused_and_told_what_is() -> None:
    pnao, module = PNAO(monitor="val/com"), new()
    next(pnao.rounds(module))
    with pytest.raises(ValueError, match=r"monitor='val/com' is not logged .*; logged are val_loss"):
        fit(pnao, module)


def test_a_score_that_is_never_a_number_is_refused() -> None:
    class Lost(Regression):
        lost_until = 3

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log("val_loss", torch.nan if self.current_epoch < self.lost_until else 1.0)

    module, pnao = Lost(), PNAO(rounds=0)
    next(pnao.rounds(module))
    with pytest.raises(ValueError, match="PNAO: val_loss was never a number in this fit"):
        fit(pnao, module)
    module.lost_until = 2
    train(pnao, module)
    assert [record["score"] for record in pnao.history] == [1.0]


def plateau(module: L.LightningModule) -> Any:
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "monitor": "val_loss"}}


def stepped(interval: str, frequency: int) -> Callable[[L.LightningModule], Any]:
    def make(module: L.LightningModule) -> Any:
        optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
        return [optimizer], [{"scheduler": schedule, "interval": interval, "frequency": frequency}]

    return make


class Endless(torch.utils.data.IterableDataset[Any]):
    def __iter__(self) -> Any:
        return (tuple(torch.randn(5 if i == 0 else 2) for i in (0, 1)) for _ in range(24))


@pytest.mark.parametrize(
    ("optimizers", "epoch", "options", "message"),
    [
        (plateau, 1, {}, "rewind_epoch > 0: ReduceLROnPlateau has no course to go back on; leave it at 0"),
        (stepped("epoch", 1), 3, {}, "rewind_epoch=3: expected less than max_epochs=3"),
        (stepped("epoch", 2), 1, {}, "rewind_epoch=1: expected a multiple of the schedule's frequency"),
        (
            stepped("epoch", 1),
            2,
            {"max_epochs": -1, "max_steps": 6},
            "comes after the last step, max_steps=6",
        ),
        (
            stepped("step", 1),
            1,
            {"endless": True},
            "steps can be counted only if the training loader has a len",
        ),
    ],
)
def test_what_cannot_be_rewound_is_refused_in_round_0(
    optimizers: Any, epoch: int, options: dict[str, Any], message: str
) -> None:
    module = new(optimizers=optimizers)
    endless = options.pop("endless", False)

    def turn(pnao: PNAO) -> None:
        training = torch.utils.data.DataLoader(Endless(), 8) if endless else loaders()[0]
        trainer(pnao, **options).fit(module, training, loaders()[1])

    refused(ValueError, message, module, turn, rewind_epoch=epoch)


def test_without_rewinding_any_schedule_will_do() -> None:
    pnao, module = PNAO(rounds=1), new(optimizers=plateau)
    for _ in pnao.rounds(module):
        trainer(pnao).fit(module, torch.utils.data.DataLoader(Endless(), 8), loaders()[1])
    assert len(pnao.history) == 2


def test_criteria_and_rules_that_answer_wrongly_are_named() -> None:
    def nothing(module: Any, nodes: Any, trainer: Any) -> dict[str, Tensor]:
        return {"net.0": torch.ones(8), "net.3": torch.full((6,), torch.nan)}

    def too_few(importances: Any, number: int) -> dict[str, Tensor]:
        return {"net.0": torch.ones(8).bool()}

    for settings, message in (
        ({"criterion": nothing}, r"'net.3': expected a Tensor \(6,\) .* found \(6,\), 0 of them such"),
        ({"criterion": lambda *_: None}, "the criterion gave a NoneType"),
        ({"masks": lambda *_: {"net.0": [True] * 8}}, r"'net.0': expected a bool mask .* found a list"),
        ({"masks": too_few}, r"group 'net.3': expected a bool mask of shape \(6,\), found none"),
    ):
        pnao, module = PNAO(rounds=1, **settings), new()  # type: ignore[arg-type]
        next(pnao.rounds(module))
        with pytest.raises(ValueError, match=message):
            fit(pnao, module)


def test_an_optimizer_that_does_not_follow_the_module_is_refused() -> None:
    kept: list[Any] = []

    def once(module: L.LightningModule) -> Any:
        kept.append(kept[0] if kept else adam(module))
        return kept[0]

    pnao, module = PNAO(rounds=1, keep=0.5), new(optimizers=once)
    rounds = pnao.rounds(module)
    next(rounds)
    fit(pnao, module)
    next(rounds)
    with pytest.raises(ValueError, match="PNAO: an optimizer has parameters that are not the module's"):
        fit(pnao, module)


def test_a_missing_comma_is_named() -> None:
    with pytest.raises(ValueError, match=r"'h': expected a list or a tuple, found 'net\.0'; a comma"):
        Nodes({"h": ("net.0")}, {"net.3": ("h",)})


def test_a_compiled_layer_is_refused_before_training() -> None:
    module = new()
    module.net = torch.compile(module.net)  # type: ignore[assignment]
    with pytest.raises(ValueError, match=r"'net\.0': its weights have other names .*module\.compile\(\)"):
        next(PNAO().rounds(module))
