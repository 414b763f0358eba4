"""docs/pnao.md: its Python blocks run in order, and what the page says of them holds."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "pnao.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def states(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The names as they are after each block."""
    names: dict[str, Any] = {"__name__": "page"}
    after, threads = [], torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("page"))
        torch.set_num_threads(1)
        try:
            for number, block in enumerate(BLOCKS):
                exec(compile(block, f"docs/pnao.md, block {number}", "exec"), names)
                after.append(dict(names))
        finally:
            torch.set_num_threads(threads)
    return after


def after(states: list[dict[str, Any]], text: str) -> dict[str, Any]:
    """The names after the block that has this text."""
    (number,) = [n for n, block in enumerate(BLOCKS) if text in block]
    return states[number]


def test_four_rounds_with_the_same_outputs_before_and_after(states: list[dict[str, Any]]) -> None:
    names = after(states, 'dirpath="out")\nfor')
    history = names["pnao"].history
    assert [entry["round"] for entry in history] == [0, 1, 2, 3]
    assert all(entry["difference"] < 1e-5 for entry in history)
    assert history[-1]["prunable"] <= 0.3 * history[0]["prunable"]
    assert names["module"].net[0].out_features == history[-1]["widths"]["net.0"] < 128


def test_the_table_names_all_keys_of_an_entry(states: list[dict[str, Any]]) -> None:
    rows = re.findall(r"^\| (`.*?) \|", PAGE, re.MULTILINE)
    named = [key for row in rows for key in re.findall(r"`(\w+)`", row)]
    (entry, *_) = after(states, 'dirpath="out")\nfor')["pnao"].history
    assert set(entry) <= set(named)


def test_a_residual_sum_and_a_flatten_get_narrower_together(states: list[dict[str, Any]]) -> None:
    names = after(states, "class SmallCNN")
    cnn, history = names["cnn"], names["pnao"].history
    trunk, inner = history[-1]["widths"]["trunk"], history[-1]["widths"]["inner"]
    assert (cnn.stem.out_channels, cnn.outer.out_channels, cnn.head.in_features) == (trunk, trunk, 16 * trunk)
    assert (cnn.inner.out_channels, cnn.outer.in_channels) == (inner, inner)
    assert len(history) == 3
    assert all(entry["difference"] < 1e-5 for entry in history)


def test_what_is_loaded_is_what_was_trained(states: list[dict[str, Any]]) -> None:
    trained, loaded = after(states, "class SmallCNN"), after(states, "load_from_checkpoint(")
    x = torch.rand(4, 64)
    with torch.no_grad():
        assert loaded["cnn"].eval()(x).equal(trained["cnn"].eval()(x))
        first = after(states, 'dirpath="out")\nfor')["module"]
        assert loaded["again"].eval()(x).equal(first.eval()(x))
    assert loaded["pnao"].history == after(states, 'dirpath="out")\nfor')["pnao"].history
    best = loaded["pnao"].history[loaded["best"]]["widths"]
    assert loaded["module"].net[0].out_features == best["net.0"]


def test_a_criterion_and_a_rule_of_ones_own(states: list[dict[str, Any]]) -> None:
    widths = [entry["widths"] for entry in after(states, "def taylor")["pnao"].history]
    assert widths == [{"trunk": 16, "inner": 16}, {"trunk": 12, "inner": 12}]
