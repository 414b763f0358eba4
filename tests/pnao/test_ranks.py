"""Two real processes do what one does: the same masks, weights to rounding, rank 0's score on both."""

import json
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from mer_lightning.pnao import PNAO
from mer_lightning.pnao.checks import check_fit
from tests.pnao.nets import trainer
from tests.pnao.ranks import SCORES, Ranked, module_and_pnao, one_turn, spawning, train

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ranked, PNAO]:
    folder = tmp_path_factory.mktemp("alone")
    return (folder, *train(folder, 1))


def close(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, atol=1e-5, rtol=0)


def check_history(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    for a, b in zip(found, expected, strict=True):
        assert {**a, "difference": 0} == {**b, "difference": 0}
    assert [record["score"] for record in found] == [min(SCORES[0])] * len(expected)
    assert found[-1]["parameters"] < found[0]["parameters"] or len(found) == 1


def check_rounds(folder: Path, alone: Path, rounds: int) -> None:
    for number in range(rounds):
        ours, theirs = folder / f"round_{number}", alone / f"round_{number}"
        for part in ("module", "optimizer"):
            close(*(load_file(path / f"{part}.safetensors") for path in (ours, theirs)))
        if (theirs / "masks.safetensors").exists():
            masks = [load_file(path / "masks.safetensors") for path in (ours, theirs)]
            assert all(masks[0][group].equal(mask) for group, mask in masks[1].items())


def test_two_processes_of_a_script(alone: tuple[Path, Ranked, PNAO], tmp_path: Path) -> None:
    folder, module, pnao = alone
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.pnao.ranks", str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    check_rounds(tmp_path / "rounds", folder, 2)
    assert sorted(p.name for p in (tmp_path / "rounds").iterdir()) == ["round_0", "round_1"]
    for name in ("kept_0", "kept_1", "memory_0", "memory_1"):
        close(torch.load(tmp_path / f"{name}.pt", weights_only=True), module.state_dict())
        check_history(json.loads((tmp_path / f"{name}.json").read_text()), pnao.history)


@pytest.mark.parametrize("method", ["forkserver", pytest.param("spawn", marks=pytest.mark.soak)])
def test_two_processes_that_are_spawned(
    method: str, alone: tuple[Path, Ranked, PNAO], tmp_path: Path
) -> None:
    """The parent trains nothing itself, and yet has the rounds, the module and the history."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(["tests.pnao.work", "tests.pnao.ranks"])
    folder, expected, whole = alone
    module, pnao = module_and_pnao(tmp_path)
    for _ in pnao.rounds(module):
        one_turn(pnao, module, 2, strategy=spawning(method))
    with pytest.raises(RuntimeError, match="a fit outside of a round"):
        check_fit(pnao.number, pnao.store, trainer(), module)
    check_rounds(tmp_path, folder, 2)
    close(module.state_dict(), expected.state_dict())
    check_history(pnao.history, whole.history)
