"""The README's Python and the notebook run, with fewer rounds and epochs."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from mer_lightning import EmotionModule

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = json.loads((ROOT / "docs" / "python.ipynb").read_text(encoding="utf-8"))
FEWER = {"range(5)": "range(1)", "rounds=10": "rounds=1", "max_epochs=30": "max_epochs=2"}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(1)


def test_the_readmes_lines_are_the_main_job(tmp_path: Path) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len([line for line in block.splitlines() if line.strip()]) <= 15
    for whole, less in FEWER.items():
        assert whole in block
        block = block.replace(whole, less)
    names: dict[str, Any] = {}
    exec(compile(block, "README.md", "exec"), names)
    assert [entry["round"] for entry in names["pnao"].history] == [0, 1]
    assert (tmp_path / "out" / "0" / "round_1").is_dir()
    assert "test/test1/com" in names["trainer"].callback_metrics


def test_the_notebook_runs_and_holds_no_outputs() -> None:
    cells = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)
    names: dict[str, Any] = {}
    for number, cell in enumerate(cells):
        exec(compile("".join(cell["source"]), f"docs/python.ipynb, cell {number}", "exec"), names)
    assert isinstance(names["again"], EmotionModule)
    assert names["again"].network.architecture == names["module"].network.architecture
    assert names["pnao"].history[-1]["parameters"] < names["pnao"].history[0]["parameters"]
    assert len(names["decision"].valence) == len(names["data"].corpus.utterances)
