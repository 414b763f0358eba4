"""Nothing that is read can run code: the source, configurations, a stranger's run."""

import ast
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from mer_lightning import load
from mer_lightning.errors import UserError
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.report.report import write_report
from mer_lightning.tasks import fit
from tests.conftest import composed
from tests.security.helpers import SECRET, trained_config

PACKAGE = Path(__file__).parents[2] / "mer_lightning"


def calls() -> Iterator[tuple[str, str, ast.Call]]:
    """File, dotted name and node of every call in the package."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                yield str(path.relative_to(PACKAGE)), ast.unparse(node.func), node


def keyword(node: ast.Call, name: str) -> Any:
    """The constant given for a keyword; None where there is none."""
    return next((getattr(k.value, "value", ...) for k in node.keywords if k.arg == name), None)


def test_nothing_in_the_source_runs_what_a_file_says() -> None:
    seen = set()
    for file, name, node in calls():
        last = name.rpartition(".")[2]
        if (file, name) == ("config/target.py", "instantiate"):
            continue  # of the command line's and the user's own files: see the test below
        if (file, last) == ("config/job.py", "register_new_resolver"):
            continue  # makes a folder's name of text
        seen.add(name)
        assert name not in ("eval", "exec", "compile", "__import__"), (file, name)
        assert last not in (
            "instantiate",
            "get_method",
            "get_class",
            "get_object",
            "register_new_resolver",
        ), file
        assert name not in ("yaml.load", "yaml.unsafe_load", "yaml.full_load", "os.system", "os.popen"), file
        assert not re.match(r"(pickle|dill|joblib|shelve|marshal|cloudpickle)\.(load|dump|open|Unp)", name), (
            file,
            name,
        )
        if name == "torch.load":
            assert keyword(node, "weights_only") is True, file
        if name == "np.load":
            assert keyword(node, "allow_pickle") is False, file
        if last == "from_pretrained" and name.startswith("Auto"):
            assert keyword(node, "trust_remote_code") is False, file
        assert keyword(node, "shell") is None, file
    assert {"torch.load", "np.load", "PlainLoader"} <= seen  # the names are still what they are looked for by
    users = {p.name for p in PACKAGE.rglob("*.py") if "import pickle" in p.read_text(encoding="utf-8")}
    assert users == {
        "pickles.py",
        "weights.py",
    }  # the restricted reader, and one that needs an error's name


def test_a_configuration_cannot_call_anything(tmp_path: Path) -> None:
    owned = tmp_path / "owned"
    for key in ("+data._target_=os.mkdir", "+network._target_=os.mkdir", "+_target_=os.mkdir"):
        with pytest.raises(UserError, match="unknown configuration key"):
            composed(key, f"data.root={owned}")
    config = composed("data=folder", "data.levels=[a]", f"experiment_name='os.mkdir({owned})'", "data.root=x")
    assert config.experiment_name == f"os.mkdir({owned})"
    assert not owned.exists()


def test_a_strangers_config_is_never_resolved(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", SECRET)
    runs = shutil.copytree(trained / "runs", tmp_path / "runs")
    run = RunDirectory(runs / "run")
    saved = yaml.safe_load(run.config.read_text(encoding="utf-8"))
    saved["trainer"]["schedule"] = "${oc.env:WANDB_API_KEY}"
    run.config.write_text(yaml.safe_dump(saved), encoding="utf-8")
    with pytest.raises(UserError, match=re.escape("${oc.env:WANDB_API_KEY}")):
        fit.refuse_another_run(trained_config(trained), run)
    write_report(runs)
    assert load(run.path).classes
    found = [p for p in runs.rglob("*") if p.is_file() and SECRET.encode() in p.read_bytes()]
    assert not found
    assert SECRET not in capsys.readouterr().out


@pytest.mark.parametrize(
    "tag", ["!!python/object/apply:os.mkdir [owned]", "!!python/name:os.system", "&a [*a]"]
)
def test_a_strangers_config_runs_nothing(trained: Path, tmp_path: Path, tag: str) -> None:
    run = RunDirectory(tmp_path)
    run.config.write_text(f"experiment_name: {tag}\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"config\.yaml"):
        run.read_config()


def test_aliases_cannot_multiply(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    bomb = "\n".join(
        ["a0: &a0 [x, x]", *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30))]
    )
    run.config.write_text(bomb + "\n", encoding="utf-8")
    with pytest.raises(UserError, match="alias"):
        run.read_config()


def test_a_hub_model_in_a_model_description_is_not_fetched(trained: Path, tmp_path: Path) -> None:
    """Which encoder to load is the user's to say: a description's is only compared."""
    from mer_lightning.extract.pipeline import as_needed

    settings = composed().extract
    needed = {"hubert_3": {"model": "evil/model", "weights": "0" * 16, "window": 5}}
    assert as_needed(needed, settings).hubert.model == settings.hubert.model


def test_objects_are_made_of_callbacks_and_loggers_alone() -> None:
    makers = {file for file, name, _ in calls() if name == "made"}
    assert makers == {"training/callbacks.py", "views/loggers.py"}


@pytest.mark.filterwarnings("ignore:constrained_layout")  # a system's name is long with such settings
def test_what_a_run_saved_is_not_made_objects_of(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither by continuing it, nor by a report, nor by its model."""
    runs = shutil.copytree(trained / "runs", tmp_path / "runs")
    run = RunDirectory(runs / "run")
    saved = yaml.safe_load(run.config.read_text(encoding="utf-8"))
    monkeypatch.chdir(tmp_path)
    evil = {"_target_": "os.mkdir", "path": "owned"}
    saved |= {"callbacks": {"evil": evil}, "logger": {"evil": dict(evil)}, "plugins": {"antigravity": "1"}}
    run.config.write_text(yaml.safe_dump(saved), encoding="utf-8")
    with pytest.raises(UserError, match=r"another configuration \((callbacks\.evil|plugins)"):
        fit.complete(trained_config(trained), run)
    write_report(runs)
    assert load(run.path).classes
    assert not (tmp_path / "owned").exists()
    assert "antigravity" not in sys.modules
