"""PNAO among Lightning's other parts, as users put them together."""

import csv
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from mer_lightning.pnao import PNAO
from mer_lightning.pnao.probe import Probe
from tests.pnao.architectures import CASES, lively
from tests.pnao.nets import Regression, Scripted, data, fit, loaders, new, train, trainer


class Epochs(L.Callback):
    """How many epochs each fit had."""

    def __init__(self) -> None:
        self.fits: list[int] = []

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.fits.append(trainer.current_epoch)


def test_early_stopping_stops_each_round_anew() -> None:
    torch.manual_seed(0)
    module = Scripted([3.0, 2.0, 4.0, 5.0, 6.0, 1.0])
    pnao, epochs = PNAO(rate=0.2, rounds=2), Epochs()
    for _ in pnao.rounds(module):
        fit(pnao, module, EarlyStopping("val_loss", patience=2), epochs, max_epochs=6)
    assert epochs.fits == [4, 4, 4]
    assert [record["score"] for record in pnao.history] == [2.0, 2.0, 2.0]


def test_loggers_are_told_of_each_round(tmp_path: Path) -> None:
    pnao, module = PNAO(rate=0.8, rounds=2, max_share=0.3), new()
    for number in pnao.rounds(module):
        logger = CSVLogger(tmp_path, name="", version=number)
        callbacks = LearningRateMonitor(), ModelCheckpoint(tmp_path / "checkpoints", monitor="val_loss")
        fit(pnao, module, *callbacks, logger=logger, log_every_n_steps=1, enable_checkpointing=True)
    for number, record in enumerate(pnao.history):
        with (tmp_path / f"version_{number}" / "metrics.csv").open() as file:
            rows = [row for row in csv.DictReader(file) if row.get("pnao/score")]
        assert len(rows) == 1
        (row,) = rows
        assert int(row["step"]) == number
        for key in ("score", "parameters", "macs", "difference"):
            assert float(row[f"pnao/{key}"]) == pytest.approx(record[key], rel=1e-6)
        for group, width in record["widths"].items():
            assert float(row[f"pnao/width/{group}"]) == width
    assert pnao.history[2]["parameters"] < pnao.history[1]["parameters"] < pnao.history[0]["parameters"]


@pytest.mark.parametrize(
    "options",
    [
        {"gradient_clip_val": 0.1},
        {"accumulate_grad_batches": 2},
        {"precision": "bf16-mixed"},
        {"precision": "64-true"},
        {"check_val_every_n_epoch": 2},
        {"val_check_interval": 0.5},
        {"num_sanity_val_steps": 0},
        {"limit_train_batches": 1},
        {"inference_mode": False},
    ],
)
def test_trainer_options(options: dict[str, Any]) -> None:
    pnao = PNAO(rate=0.9, rounds=2, alpha=1e-4, optimizer="carry", rewind_epoch=1, max_share=0.4)
    module = train(pnao, new(dropout=0.1), max_epochs=4, **options)
    assert [record["round"] for record in pnao.history] == [0, 1, 2]
    assert pnao.history[2]["parameters"] < pnao.history[1]["parameters"] < pnao.history[0]["parameters"]
    assert all(record["difference"] < 1e-5 for record in pnao.history)
    assert all(parameter.isfinite().all() for parameter in module.parameters())


@pytest.mark.parametrize("rewind_epoch", [0, 2])
def test_a_trial_run_leaves_nothing(rewind_epoch: int, tmp_path: Path) -> None:
    """``fast_dev_run`` has one epoch, and neither logs nor keeps anything."""
    pnao, module = PNAO(rate=0.9, rounds=2, max_share=0.4, rewind_epoch=rewind_epoch, dirpath=tmp_path), new()
    train(pnao, module, fast_dev_run=True)
    assert list(tmp_path.iterdir()) == []
    assert len(pnao.history) == 3
    assert pnao.history[2]["parameters"] < pnao.history[0]["parameters"]


def test_after_a_trial_rounds_are_kept_again(tmp_path: Path) -> None:
    pnao = PNAO(rounds=1, dirpath=tmp_path)
    trial: dict[str, Any] = {"fast_dev_run": True}
    for options in (trial, {}):
        module = new()
        for _ in pnao.rounds(module):
            trainer(pnao, **options).fit(module, *loaders())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["round_0", "round_1"]


def test_what_is_put_beside_a_round_stays(tmp_path: Path) -> None:
    pnao, module = PNAO(rounds=1, dirpath=tmp_path), new()
    for number in pnao.rounds(module):
        folder = tmp_path / f"round_{number}"
        folder.mkdir()
        (folder / "notes.txt").write_text("mine")
        (folder / "masks.safetensors").write_text("old")
        fit(pnao, module)
    assert [(tmp_path / f"round_{n}" / "notes.txt").read_text() for n in (0, 1)] == ["mine", "mine"]
    assert not (tmp_path / "round_1" / "masks.safetensors").exists()  # the last round has none
    assert list(PNAO(rounds=1, dirpath=tmp_path).rounds(new())) == []


def test_without_validation_a_training_metric_is_monitored() -> None:
    class Counted(Regression):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            self.log("epoch", float((5, 3, 4)[self.current_epoch]), on_step=False, on_epoch=True)
            loss: Tensor = super().training_step(batch, batch_idx)
            return loss

    torch.manual_seed(0)
    module, pnao = Counted(), PNAO(monitor="epoch", mode="min", rounds=1, rate=0.3)
    train(pnao, module, limit_val_batches=0)
    assert [record["score"] for record in pnao.history] == [3.0, 3.0]


class Mapped(Dataset[Any]):
    """Samples as dictionaries."""

    def __getitem__(self, index: int) -> dict[str, Any]:
        x, y = data()[index]
        return {"inputs": {"x": x}, "target": y, "names": str(index)}

    def __len__(self) -> int:
        return 24


class OfMappings(Regression):
    """``forward`` takes a part of a batch by its name, ``training_step`` empties the batch."""

    def forward(self, x: Tensor, twice: bool = False) -> dict[str, Any]:
        return {"output": [self.net(x)], "twice": twice}

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return nn.functional.mse_loss(self.net(batch.pop("inputs")["x"]), batch.pop("target"))

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", nn.functional.mse_loss(self.net(batch["inputs"]["x"]), batch["target"]))


@pytest.mark.parametrize("example", [torch.ones(3, 5), (torch.ones(3, 5), True), {"x": torch.ones(3, 5)}])
@pytest.mark.parametrize("precision", ["32-true", "64-true"])
def test_a_batch_of_names_needs_an_example(example: Any, precision: Any) -> None:
    pnao = PNAO(rate=0.9, rounds=1, max_share=0.4)
    torch.manual_seed(0)
    module = OfMappings()
    module.example_input_array = example
    for _ in pnao.rounds(module):
        trainer(pnao, precision=precision).fit(module, *loaders(Mapped()))
    assert pnao.history[1]["macs"] < pnao.history[0]["macs"] == 100


def test_a_batch_that_forward_takes_whole_is_kept_as_it_was() -> None:
    class Whole(OfMappings):
        def forward(self, x: Any, twice: bool = False) -> Any:
            return self.net(x["inputs"]["x"])

    pnao = PNAO(rate=0.9, rounds=1, max_share=0.4)
    torch.manual_seed(0)
    module = Whole()
    for _ in pnao.rounds(module):
        trainer(pnao).fit(module, *loaders(Mapped()))
    assert len(pnao.history) == 2


def test_looking_at_the_module_changes_nothing() -> None:
    """Modes, weights, running statistics, random numbers and the loaders are as before."""
    case = CASES["residual"]
    net, x = lively(case)
    module = Regression(net, case.nodes.under("net")).train()
    module.net.get_submodule("head").eval()
    modes = [part.training for part in module.modules()]
    before, state = {k: v.clone() for k, v in module.state_dict().items()}, torch.get_rng_state()
    probe = Probe(trainer(), module, [x, torch.zeros(9, 2)])
    probe(module)
    assert [part.training for part in module.modules()] == modes
    assert torch.get_rng_state().equal(state)
    assert all(before[k].equal(v) for k, v in module.state_dict().items())


def test_a_module_that_keeps_losses_can_be_pruned() -> None:
    """Tensors with a graph cannot be copied, and Lightning's users keep them on their modules."""

    class Keeping(Regression):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            self.last = super().training_step(batch, batch_idx)
            return self.last

    torch.manual_seed(0)
    pnao = PNAO(rate=0.9, rounds=1, max_share=0.4)
    train(pnao, Keeping())
    assert pnao.history[1]["parameters"] < pnao.history[0]["parameters"]


def test_norms_over_nodes_make_a_difference_that_is_told() -> None:
    case = CASES["layernorm"]
    net, _ = lively(case)
    pnao, module = PNAO(rate=0.9, rounds=1, max_share=0.4), Regression(net.train(), case.nodes.under("net"))
    train(pnao, module)
    assert pnao.history[0]["difference"] == 0
    assert pnao.history[1]["difference"] > 1e-3


def test_convolutions_with_norms_train_over_rounds() -> None:
    case = CASES["residual"]
    net, _ = lively(case)
    pnao, module = (
        PNAO(keep=0.3, scale="layer", rounds=2, optimizer="carry"),
        Regression(net.train(), case.nodes.under("net")),
    )
    for _ in pnao.rounds(module):
        trainer(pnao).fit(module, *loaders(data((2, 4, 4))))
    assert pnao.history[2]["prunable"] <= 0.3 * pnao.history[0]["prunable"]
    assert all(record["difference"] < 1e-5 for record in pnao.history)
    positions, first = 16, pnao.history[0]["widths"]
    assert first == {"stream": 6, "inner": 5, "head": 7}
    convolutions = 2 * 9 * 6 * positions + 6 * 9 * 5 * positions + 5 * 6 * positions
    assert pnao.history[0]["macs"] == convolutions + 24 * 7 + 7 * 2


def test_the_loader_is_left_alone() -> None:
    """One pass over the training data an epoch: no batch is taken to look at."""

    class Counting(torch.utils.data.IterableDataset[Any]):
        passes = 0

        def __iter__(self) -> Any:
            self.passes += 1
            return iter(data())

    dataset, pnao, module = Counting(), PNAO(rounds=1, monitor="train_loss"), new()
    for _ in pnao.rounds(module):
        trainer(pnao, max_epochs=2, limit_val_batches=0).fit(module, DataLoader(dataset, 8))
    assert dataset.passes == 4
