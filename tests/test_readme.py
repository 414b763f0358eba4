"""The README's commands are real: they compose, and its make targets exist."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.conftest import composed

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
GUIDES = [*(ROOT / "docs").glob("*.md"), *(ROOT / "experiments").glob("*/README.md")]
EVERYTHING = "\n".join([README, *(path.read_text(encoding="utf-8") for path in sorted(GUIDES))])
BLOCKS = re.findall(r"```\w*\n(.*?)```", EVERYTHING, re.DOTALL)
COMMANDS = [line.partition("#")[0].strip() for block in BLOCKS for line in block.splitlines()]
RUNS = [shlex.split(c)[3:] for c in COMMANDS if c.startswith("python -m mer_lightning") and "$" not in c]
RUNS = [run for run in RUNS if "plugins=[my_parts]" not in run]  # tests/plugins/test_docs.py


def test_it_has_commands() -> None:
    assert len(RUNS) >= 6
    assert "make pnao" in COMMANDS


@pytest.mark.parametrize("arguments", RUNS, ids=" ".join)
def test_its_commands_compose(arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for argument in arguments:
        if argument.startswith("model="):
            Path(argument.removeprefix("model=")).mkdir(parents=True)
    first = [a for a in arguments if a != "-m" and not a.startswith("hydra.")]
    if "-m" in arguments:  # of a sweep the first setting
        first = [re.sub(r"=([^,\[]*),.*", r"=\1", a) for a in first]
    assert composed(*first)


@pytest.mark.parametrize("target", sorted(set(re.findall(r"make ([a-z-]+)", README))))
def test_its_make_targets_exist(target: str) -> None:
    done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_experiment_is_in_its_table() -> None:
    for path in (ROOT / "conf" / "experiment").glob("*.yaml"):
        assert f"| `{path.stem}` |" in README
