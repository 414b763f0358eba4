"""The experiment on digits runs from end to end, and its methods are compared fairly."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from experiments.bench.measure import threads
from experiments.digits import __main__ as digits
from experiments.digits import methods
from experiments.digits.task import CNN, MLP, Task


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As the experiment runs."""
    with threads(1):
        yield


def test_it_writes_a_table_and_a_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digits, "NETWORKS", (MLP,))
    monkeypatch.setattr(digits, "KEEPS", (0.3,))
    digits.main(["--seeds", "1", "--epochs", "2", "--rounds", "1", "--output", str(tmp_path)])
    table = (tmp_path / "table.md").read_text(encoding="utf-8")
    for name in (digits.DENSE, digits.REWIND, digits.OURS, digits.OTHER, digits.RANDOM, digits.MASKS):
        assert f"| {name} |" in table
    assert (tmp_path / "accuracy.png").stat().st_size > 0


def test_every_method_begins_alike_and_random_masks_leave_as_many_nodes() -> None:
    task = Task(CNN, seed=0, keep=0.3, epochs=1, rounds=1)
    first, second = task.module().state_dict(), task.module().state_dict()
    assert all(first[name].equal(second[name]) for name in first)
    module, callback = methods.pnao(task, scale="layer", keep=0.3)
    random = methods.at_random(task, callback.history)
    assert {n: t.shape for n, t in random.state_dict().items()} == {
        n: t.shape for n, t in module.state_dict().items()
    }
    assert methods.size(module) <= 0.3 * methods.size(task.module())
