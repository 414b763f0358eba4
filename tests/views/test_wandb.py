"""W&B without a server: what its own files say, read back."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import wandb
from wandb.errors import CommError
from wandb.proto.wandb_internal_pb2 import Record

from mer_lightning.config.schema import Config
from mer_lightning.errors import UserError
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.views.tracker import Memory
from mer_lightning.views.wandb import WandbSink, check_login
from tests.views.helpers import closed_records, interrupted, offline_files, trained, values

Small = Callable[..., Config]
SECRET = "local" + "5ecre7" * 7
FAST = ("+experiment=pnao", "pnao.rounds=1", "trainer.epochs=2", "logger=wandb")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """W&B's own folders, a key, and nothing of the user's."""
    home = tmp_path / "home"
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("WANDB_API_KEY", SECRET)
    monkeypatch.setenv(
        "WANDB_X_SERVICE_WAIT", "300"
    )  # a busy machine may take more than W&B's 30 s to start it
    for name in ("DATA_DIR", "CACHE_DIR", "CONFIG_DIR"):
        monkeypatch.setenv(f"WANDB_{name}", str(home / name))
    for name in ("WANDB_MODE", "WANDB_PROJECT", "WANDB_ENTITY", "WANDB_BASE_URL", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    return home


def history(told: list[Record]) -> list[tuple[int, dict[str, Any]]]:
    """The steps and what was logged at them."""
    return [(r.history.step.num, values(r.history)) for r in told if r.WhichOneof("record_type") == "history"]


def of_kind(told: list[Record], kind: str) -> list[Any]:
    return [getattr(r, kind) for r in told if r.WhichOneof("record_type") == kind]


def test_offline_files_say_what_the_run_says(
    small: Small, tmp_path: Path, home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = small(
        *FAST, "logger.wandb.mode=offline", "logger.wandb.project=emotions", "logger.wandb.artifact=true"
    )
    run = RunDirectory(tmp_path / "run")
    interrupted(config, run.path, fold=1, number=1)
    trained(config, run.path)
    output, errors = capfd.readouterr()
    assert output.count("dashboard: wandb sync") == 2
    assert "wandb:" not in output + errors

    files = offline_files(run)
    first, second = (closed_records(file) for file in files)
    assert str(files[1].parent) in output
    began = [of_kind(told, "run")[0] for told in (first, second)]
    assert {(r.run_id, r.project, r.display_name) for r in began} == {
        (json.loads(run.tracker("wandb").read_text())["id"], "emotions", "pnao")
    }
    assert str(config.data.root) not in str(began[1].config)
    assert str(tmp_path) not in str(began[1].config)
    assert [of_kind(told, "exit")[-1].exit_code for told in (first, second)] == [1, 0]

    told = history(first) + history(second)
    assert [step for step, _ in told] == list(range(len(told)))  # goes on, nothing twice
    rows = [row for _, row in told]
    results = run.read_results()
    assert [r["round/com"] for r in rows if "round" in r] == [e.validation.com for e in results.rounds]
    assert [r["epoch"] for r in rows if "fold_0/loss" in r] == [1, 2, 3, 4]
    for part in (first, second):
        check_axes(part)
    figures = {p.stem for p in run.figures.glob("*.png")}
    assert figures
    assert {k for k, v in rows[-1].items() if v["_type"] == "image-file"} == {f"figures/{f}" for f in figures}
    tables = {k: v["path"] for k, v in rows[-1].items() if v["_type"] == "table-file"}
    assert sorted(tables) == ["confusion/test_test", "confusion/validation"]
    table = json.loads((files[1].parent / "files" / tables["confusion/test_test"]).read_text())
    assert sum(count for _, _, count in table["data"]) == results.data.n["test"]
    summary = {
        "/".join(i.nested_key) or i.key: i.value_json for s in of_kind(second, "summary") for i in s.update
    }
    assert json.loads(summary["best/com"]) == results.validation.com
    assert json.loads(summary["best/round"]) == results.best_round
    [model] = [a for a in of_kind(second, "artifact") if a.type == "model"]
    assert {e.path for e in model.manifest.contents} == {p.name for p in run.model.iterdir()}

    everything = [p for folder in (run.path, home) for p in folder.rglob("*") if p.is_file()]
    assert not [p for p in everything if SECRET.encode() in p.read_bytes()]


def check_axes(told: list[Record]) -> None:
    """Every metric is tied to its axis by its exact name before its first value."""
    axes: dict[str, str] = {}
    for record in told:
        kind = record.WhichOneof("record_type")
        if kind == "metric":
            axes[record.metric.name] = record.metric.step_metric
            assert not record.metric.glob_name
        elif kind == "history":
            for key, value in values(record.history).items():
                if "/" in key and not isinstance(value, dict):
                    assert axes[key] == ("round" if key.startswith("round/") else "epoch"), key


class Opened:
    """Instead of ``wandb.init``: ``reason`` is why it fails online."""

    def __init__(self, reason: str) -> None:
        self.reason, self.modes = reason, []

    def __call__(self, mode: str, **_: Any) -> Any:
        self.modes.append(mode)
        if mode == "online":
            raise CommError(self.reason)
        return type("Run", (), {"offline": True, "dir": "run/wandb/offline-run/files"})()


def test_a_server_out_of_reach_is_a_note_and_one_that_refuses_a_mistake(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config, run = small(*FAST), RunDirectory(tmp_path)
    away = Opened("context deadline exceeded\nwhile retrying: connection refused")
    monkeypatch.setattr(wandb, "init", away)
    WandbSink(config, run, Memory())
    assert away.modes == ["online", "offline"]
    assert "note: W&B cannot be reached (context deadline exceeded while retry" in capsys.readouterr().out
    strict = Opened("returned error 401: user is not logged in")
    monkeypatch.setattr(wandb, "init", strict)
    with pytest.raises(UserError, match=r"refuses.*401.*`wandb login`.*logger.wandb.mode=offline"):
        WandbSink(config, run, Memory())
    assert strict.modes == ["online"]


def test_without_a_key_nothing_begins(small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_API_KEY")
    monkeypatch.setattr(wandb, "login", lambda **asked: asked["prompt"] and None)  # as it answers with no key
    with pytest.raises(UserError, match=r"no API key.*`wandb login`.*logger.wandb.mode=offline"):
        trained(small(*FAST), tmp_path / "run")
    assert not list((tmp_path / "run").iterdir())
    monkeypatch.undo()
    monkeypatch.setenv("WANDB_API_KEY", "short")
    with pytest.raises(UserError, match=r"40.*`wandb login`"):
        check_login()


@pytest.mark.parametrize(
    "wrong", [["logger.wandb.mode=sometimes"], ["logger.wandb.project=a/b"], ["+logger.key=x"]]
)
def test_settings_that_make_no_sense(small: Small, wrong: list[str]) -> None:
    with pytest.raises(UserError, match=wrong[0].lstrip("+").partition("=")[0]):
        small("logger=wandb", *wrong)
