"""``make soak``: 50 kills at random moments change no number of a run. Here: that a change would be seen."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.reliability.conftest import Finished
from tests.reliability.kills import contents, survive

Change = Callable[[Path], object]


@pytest.mark.soak
@pytest.mark.parametrize("workers", [1, 2])
def test_kills_change_no_number(tmp_path: Path, workers: int) -> None:
    survived = survive(tmp_path, count=50, seed=workers, workers=workers)
    assert survived.kills >= 50
    assert survived.while_writing >= 15
    assert survived.differences == []


def last_digit(path: Path, key: str) -> None:
    """Another number for a key of a JSON file, or of its first round."""
    content = json.loads(path.read_text())
    inside = content["record"] if "record" in content else content["rounds"][0]
    where = content if key in content else inside
    where[key] += 1e-15 * (abs(where[key]) + 1) if isinstance(where[key], float) else 1
    path.write_text(json.dumps(content))


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "change", "seen"),
    [
        ("results.json", lambda p: last_digit(p, "selection"), True),
        ("results.json", lambda p: last_digit(p, "seconds"), False),
        ("fold_1/round_2/round.json", lambda p: last_digit(p, "parameters"), True),
        ("fold_1/round_2/network.safetensors", flipped, True),
        ("fold_0/round_1/test.safetensors", flipped, True),
        ("model/fold_0.safetensors", flipped, True),
        ("predictions.csv", flipped, True),
        ("fold_0/round_0", shutil.rmtree, True),
    ],
)
def test_the_comparison_after_kills_sees_a_change(
    finished: Finished, tmp_path: Path, name: str, change: Change, seen: bool
) -> None:
    run = shutil.copytree(finished.run.path, tmp_path / "run")
    change(run / name)
    assert (contents(run) != contents(finished.run.path)) == seen
