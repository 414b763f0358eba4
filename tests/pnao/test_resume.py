"""A run that is stopped anywhere goes on to the same end, bit for bit."""

import random
import shutil
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from safetensors.torch import load_file

from mer_lightning.pnao import PNAO, compact, fit_widths
from tests.pnao.nets import Regression, fit, same, train
from tests.pnao.work import LAST, files, finish, settings, start


class StoppedError(Exception):
    """What the bomb raises."""


class Bomb(L.Callback):
    """Raises at a round's batch of that number, or (-1) as its fit ends, before or after PNAO has written."""

    def __init__(self, pnao: PNAO, number: int, batch: int) -> None:
        self.pnao, self.number, self.batch, self.seen = pnao, number, batch, 0

    def on_train_batch_end(self, *_: Any) -> None:
        self.seen += 1
        if (self.pnao.number, self.seen) == (self.number, self.batch):
            raise StoppedError

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.seen = 0 if trainer.current_epoch == 0 else self.seen

    def on_fit_end(self, *_: Any) -> None:
        if self.batch == -1 and len(self.pnao.history) == self.number + 1:
            raise StoppedError


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed run: dropout, shuffled batches, carried state, one epoch rewound."""
    folder: Path = tmp_path_factory.mktemp("whole")
    finish(folder)
    return folder


def check(folder: Path, whole: Path, module: L.LightningModule, pnao: PNAO) -> None:
    """The same files, the same module, the same history."""
    assert files(folder) == files(whole)
    assert same(module, PNAO.load(start(), whole))
    assert pnao.history == [pnao.store.record(number) for number in range(LAST + 1)]
    assert len(pnao.history[-1]["widths"]) == 2
    assert pnao.history[-1]["parameters"] < pnao.history[0]["parameters"]


@pytest.mark.parametrize("number", range(LAST + 1))
@pytest.mark.parametrize("batch", ["random", "first", "after"])
def test_stopped_anywhere(number: int, batch: str, whole: Path, tmp_path: Path) -> None:
    epochs = 3 if number == 0 else 2
    at = {"random": random.Random(number).randint(2, 3 * epochs), "first": 1, "after": -1}[batch]
    module, pnao = start(), PNAO(**settings(tmp_path))
    with pytest.raises(StoppedError):
        train(pnao, module, Bomb(pnao, number, at))
    assert (tmp_path / f"round_{number}").exists() == (at == -1)
    random.seed(99)
    np.random.seed(99)  # a new process has other states
    torch.manual_seed(99)
    module, pnao = finish(tmp_path)
    check(tmp_path, whole, module, pnao)


def test_stopped_again_and_again(whole: Path, tmp_path: Path) -> None:
    for number, batch in ((0, 4), (0, 8), (1, 2), (1, -1), (2, 5)):
        module, pnao = start(), PNAO(**settings(tmp_path))
        with pytest.raises(StoppedError):
            train(pnao, module, Bomb(pnao, number, batch))
    check(tmp_path, whole, *finish(tmp_path))


def test_a_finished_run_trains_nothing_and_gives_the_last_round(whole: Path) -> None:
    module, pnao = start(), PNAO(**settings(whole))
    assert list(pnao.rounds(module)) == []
    check(whole, whole, module, pnao)


def test_without_a_folder_the_numbers_are_the_same(whole: Path) -> None:
    module, pnao = finish(None)
    assert same(module, PNAO.load(start(), whole))
    assert pnao.history == history_of(whole)


def history_of(folder: Path) -> list[dict[str, Any]]:
    pnao = PNAO(**settings(folder))
    list(pnao.rounds(start()))
    return pnao.history


@pytest.mark.parametrize("number", range(LAST + 1))
def test_a_damaged_round_and_those_after_it_are_trained_again(
    number: int, whole: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    for part in ("module.safetensors", "round.json", "random.safetensors", "SHA256SUMS"):
        shutil.copytree(whole, folder)
        path = folder / f"round_{number}" / part
        damaged = bytearray(path.read_bytes())
        damaged[len(damaged) // 2] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(OSError, match=rf"round_{number}.* is damaged: remove .*round_{number}"):
            PNAO.load(start(), folder, round=number)
        with pytest.warns(UserWarning, match=rf"round_{number}.* is damaged: going on from the round before"):
            module, pnao = finish(folder)
        check(folder, whole, module, pnao)
        shutil.rmtree(folder)


@pytest.mark.parametrize("gap", range(LAST + 1))
def test_after_a_gap_all_is_trained_again(gap: int, whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    shutil.rmtree(folder / f"round_{gap}")
    seen = []
    module, pnao = start(), PNAO(**settings(folder))
    for number in pnao.rounds(module):
        seen.append(number)
        fit(pnao, module)
    assert seen == list(range(gap, LAST + 1))
    check(folder, whole, module, pnao)


def test_what_a_killed_process_left_is_swept_up(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole / "round_0", tmp_path / "round_0")
    (tmp_path / ".round_1.abc.unfinished").mkdir()
    (tmp_path / ".round_1.abc.unfinished" / "module.safetensors").write_bytes(b"half")
    (tmp_path / "notes").mkdir()  # the user's own
    finish(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["notes", "round_0", "round_1", "round_2"]


def test_more_rounds_than_were_planned_need_the_last_one_again(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    more = PNAO(**{**settings(folder), "rounds": LAST + 1})
    with pytest.raises(
        ValueError, match=rf"round_{LAST} was trained as the last round .*; remove it to go on"
    ):
        next(more.rounds(start()))
    shutil.rmtree(folder / f"round_{LAST}")
    train(more, start())
    assert len(more.history) == LAST + 2
    assert more.history[: LAST + 1] == history_of(whole)  # not by a target, which would plan otherwise


def test_load_gives_each_round(whole: Path) -> None:
    history = history_of(whole)
    for number in range(LAST + 1):
        module = start()
        assert PNAO.load(module, whole, round=number) is module
        assert sum(p.numel() for p in module.parameters()) == history[number]["parameters"]
        state = load_file(whole / f"round_{number}" / "module.safetensors")
        assert all(module.state_dict()[name].equal(tensor) for name, tensor in state.items())
    assert same(PNAO.load(start(), whole), module)


def test_load_without_a_round_says_where(tmp_path: Path) -> None:
    for number in (None, 3):
        with pytest.raises(FileNotFoundError, match=rf"{tmp_path}.*: no finished round there"):
            PNAO.load(start(), tmp_path, round=number)


def test_masks_of_a_round_make_the_next_ones_widths(whole: Path) -> None:
    for number in range(LAST):
        masks = load_file(whole / f"round_{number}" / "masks.safetensors")
        narrow = compact(PNAO.load(start(), whole, round=number), masks)
        following = PNAO.load(start(), whole, round=number + 1)
        assert [p.shape for p in narrow.parameters()] == [p.shape for p in following.parameters()]
    assert not (whole / f"round_{LAST}" / "masks.safetensors").exists()


class Widening(Regression):
    """As a user writes it, so that Lightning loads its narrowed checkpoints."""

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        fit_widths(self, checkpoint["state_dict"])


def test_lightning_loads_a_checkpoint_of_a_pruned_round(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module, pnao = Widening(), PNAO(rate=0.8, rounds=1, max_share=0.5)
    checkpoint = ModelCheckpoint(tmp_path, monitor="val_loss", mode="min", filename="best")
    for number in pnao.rounds(module):
        fit(pnao, module, *([checkpoint] if number else []), enable_checkpointing=bool(number))
    assert pnao.history[1]["parameters"] < pnao.history[0]["parameters"]
    loaded = Widening.load_from_checkpoint(checkpoint.best_model_path, weights_only=True)
    assert same(loaded, module)
    with pytest.raises(RuntimeError, match="size mismatch"):
        Regression.load_from_checkpoint(checkpoint.best_model_path, weights_only=True)


@pytest.mark.parametrize("precision", ["64-true", "bf16-true", "bf16-mixed"])
def test_stopped_in_other_precisions(precision: Any, tmp_path: Path) -> None:
    """Going on from single precision would round a network in double."""
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    expected, _ = finish(whole, precision=precision)
    module, pnao = start(), PNAO(**settings(stopped))
    with pytest.raises(StoppedError):
        train(pnao, module, Bomb(pnao, 1, 2), precision=precision)
    module, pnao = finish(stopped, precision=precision)
    assert files(stopped) == files(whole)
    assert same(module, expected)
    dtype = {"64-true": torch.float64, "bf16-true": torch.bfloat16}.get(precision, torch.float32)
    assert module.net.get_parameter("0.weight").dtype == dtype
