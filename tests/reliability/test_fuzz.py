"""Damaged inputs against the contract: a slice of them here, thousands under ``make soak``."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mer_lightning.errors import UserError
from mer_lightning.files.atomic import UNFINISHED
from tests.reliability.judge import FoundError, HangError, judged

ROOT = Path(__file__).parents[2]
SLICE = 40
SOAK = 3000


def fuzz(*arguments: str, timeout: float) -> None:
    command = [sys.executable, "-m", "tests.reliability.fuzz", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert "0 break the contract" in done.stdout


def test_damaged_inputs_are_refused_in_one_line() -> None:
    fuzz("--seed", "0", "--count", str(SLICE), timeout=600)


@pytest.mark.soak
@pytest.mark.parametrize("seed", [1, 2])
def test_thousands_of_damaged_inputs(seed: int) -> None:
    fuzz("--seed", str(seed), "--count", str(SOAK), timeout=4 * 3600)


def raises(error: BaseException) -> object:
    raise error


def test_the_judge_lets_pass_what_the_contract_allows(tmp_path: Path) -> None:
    assert judged(lambda: None, tmp_path) == "accepted"
    assert judged(lambda: raises(UserError("x.npy: damaged; write it again")), tmp_path) == "refused"
    assert judged(lambda: (tmp_path / "absent").read_text(), tmp_path) == "refused"


@pytest.mark.parametrize(
    "error",
    [
        ValueError("x"),
        KeyError("x"),
        AttributeError("x"),
        MemoryError(),
        AssertionError(),
        OSError("no file is named"),
        ZeroDivisionError(),
        UserError("two\nlines"),
        UserError(""),
    ],
    ids=repr,
)
def test_the_judge_finds_every_other_exception(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(FoundError):
        judged(lambda: raises(error), tmp_path)


def test_the_judge_finds_hangs_hunger_and_leftovers(tmp_path: Path) -> None:
    with pytest.raises(FoundError, match=r"took more than 0\.05 s"):
        judged(lambda: time.sleep(5), tmp_path, seconds=0.05)

    def hungry() -> None:
        try:
            np.empty((10**9, 10**9))
        except MemoryError as error:
            raise UserError("possibly corrupt") from error

    with pytest.raises(FoundError, match="wants all memory"):
        judged(hungry, tmp_path)
    (tmp_path / f".store.abc{UNFINISHED}").mkdir()
    with pytest.raises(FoundError, match=r"left .*store"):
        judged(lambda: None, tmp_path)
    assert not issubclass(HangError, Exception)  # or a reader would take a hang for damage
