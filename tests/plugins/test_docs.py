"""docs/extending.md: its module and its experiment file work as the page says."""

import re
import subprocess
import sys
from pathlib import Path

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "extending.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return str(found)


def test_the_module_and_the_experiment_of_the_page(tmp_path: Path) -> None:
    (tmp_path / "my_parts.py").write_text(block("python"))
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "sharp.yaml").write_text(block("yaml"))
    small = ("network.dimension=8", "trainer.epochs=1", "pnao.rounds=1", "data.folds=2", "folds.workers=1")
    given = ("--config-dir=mine", "+experiment=sharp", "trainer.optimizer=sgd", "hydra.run.dir=run", *small)
    command = [sys.executable, "-m", "mer_lightning", *given]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    saved = (tmp_path / "run" / "config.yaml").read_text()
    assert "power: 3.0" in saved
    assert "my_parts: sha256:" in saved
    assert "lr-SGD" in (tmp_path / "run" / "fold_0" / "round_0" / "round.json").read_text()
