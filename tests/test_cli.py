"""The command line as a user meets it: real processes, real messages."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser

from mer_lightning.__main__ import spelled_out
from mer_lightning.config.compose import conf_folder
from mer_lightning.config.registry import CHOSEN_BY_NAME, CORPORA
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.views.terminal import continue_command
from tests.conftest import SMALL, composed, folder_overrides, write_folder
from tests.processes import started

EXPERIMENTS = sorted(p.stem for p in (conf_folder() / "experiment").glob("*.yaml"))


def cli(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mer_lightning", *arguments],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_help_and_cfg_are_quick_and_import_nothing_heavy(tmp_path: Path) -> None:
    began = time.perf_counter()
    done = cli("--cfg", "job", cwd=tmp_path, PYTHONPROFILEIMPORTTIME="1")
    seconds = time.perf_counter() - began
    assert done.returncode == 0, done.stderr
    assert yaml.safe_load(done.stdout)["pnao"]["rate"] == 0.007
    for package in ("numpy", "torch", "lightning", "pydantic"):
        assert f" {package}\n" not in done.stderr
    assert seconds < 5  # 0.4 s on an idle core; the machine that runs the tests is not idle
    assert "pnao" in cli("--help", cwd=tmp_path).stdout


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_composes_and_opens_with_its_command(name: str) -> None:
    config = composed(f"+experiment={name}")
    assert config.experiment_name == name
    text = (conf_folder() / "experiment" / f"{name}.yaml").read_text()
    assert f"# python -m mer_lightning +experiment={name}\n" in text


@pytest.mark.parametrize(
    "choice",
    [
        *(f"{r.key.partition('.')[0]}={name}" for r in CHOSEN_BY_NAME for name in r),
        *(f"data=mer{year}" for year in range(2023, 2027)),
        "trainer=ddp",
    ],
)
def test_every_choice_composes(choice: str) -> None:
    data = "data.root=x data.levels=[a,b]"
    needs = {
        **{f"data={name}": data for name in ("folder", "mertools", "store", "mmsa")},
        **{f"data=mer{year}": data for year in range(2023, 2027)},
        **{f"data={name}": "task=import data.root=x output=y" for name in CORPORA},
        "fusion=linear": "fusion.weights=[1,1,2]",
        "network=transformer": "pnao.rounds=0 loss.supervision=both",
    }
    assert composed(choice, *needs.get(choice, "").split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pnao.raet=0.1"], "unknown configuration key pnao.raet; did you mean pnao.rate?"),
        (["trainer.lr=1e-3"], "unknown configuration key trainer.lr; did you mean trainer.learning_rate?"),
        (["-model.fold=0"], "ignored explicit argument 'odel.fold=0'; settings are given as key=value"),
        (["+pnao.raet=0.1"], "unknown configuration key pnao.raet; did you mean pnao.rate?"),
        (["pnao.rate=1.0"], "pnao.rate=1.0: expected a value in [0, 1)"),
        (["pnao.rate=-0.1"], "pnao.rate=-0.1: expected a value in [0, 1)"),
        (["pnao.rate=nan"], "pnao.rate=nan"),
        (["pnao.rounds=two"], "pnao.rounds=two: Value 'two' of type 'str' could not be converted to Integer"),
        (["task=predit"], "task=predit: expected one of fit, import, extract, predict, evaluate"),
        (["+experiment=pano"], "experiment=pano: expected one of baseline, enf,"),
        (["fusion=linear"], "one weight per level"),
        (["fusion=linear", "fusion.weights=[1,2]"], "2 weights for 3 levels"),
        (["data=folder", "data.levels=[a]"], "data.root"),
        (["data=folder", "data.root=absent", "data.levels=[a]"], "absent"),
        (["data=folder", "data.root=x"], "data.levels is empty"),
        (["data.folds=1"], "data.folds=1"),
        (["data.folds=many"], "data.folds=many"),
        (["folds.workers=0"], "folds.workers=0"),
        (["trainer.epochs=0"], "trainer.epochs=0"),
        (["task=import"], "output=STORE"),
        (["seed="], "seed"),
        (["pnao.rate=[0.1"], "pnao.rate"),
        (["--expriment=pnao"], "unknown option '--expriment=pnao'"),
        (["--experimental-rerun=x.pickle"], "unknown option '--experimental-rerun'"),
    ],
)
def test_a_mistake_ends_with_one_line(tmp_path: Path, arguments: list[str], message: str) -> None:
    done = cli(*arguments, cwd=tmp_path)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1
    assert last.startswith("error: ")
    assert message in last
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.rglob("*"))  # no file, no folder of a run


def test_hydra_full_error_shows_the_traceback(tmp_path: Path) -> None:
    done = cli("pnao.rate=2", cwd=tmp_path, HYDRA_FULL_ERROR="1")
    assert done.returncode != 0
    assert "Traceback" in done.stderr


def test_the_main_job_in_another_directory_without_a_terminal(tmp_path: Path) -> None:
    data = write_folder(tmp_path / "my data")
    done = cli("+experiment=pnao", *folder_overrides(data), *SMALL, "hydra.run.dir=out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "\x1b" not in done.stdout
    assert [line.split()[1] for line in done.stdout.splitlines() if line.startswith("round ")] == [
        "0",
        "1",
        "2",
    ]
    assert (tmp_path / "out" / "report.html").is_file()
    names = {p.name for p in (tmp_path / "out").iterdir()} - {".lock"}
    assert names >= {
        "config.yaml",
        "results.json",
        "rounds.csv",
        "predictions.csv",
        "folds.csv",
        "model",
        "fold_0",
        "fold_1",
    }
    again = cli("+experiment=pnao", *folder_overrides(data), *SMALL, "hydra.run.dir=out", cwd=tmp_path)
    assert again.returncode == 0
    assert "round  0" not in again.stdout


def test_a_sweep_over_the_pruning_rate(tmp_path: Path) -> None:
    data = write_folder(tmp_path / "data")
    done = cli(
        "-m",
        "+experiment=pnao",
        *folder_overrides(data),
        *SMALL,
        "pnao.rate=0.1,0.6",
        "hydra.sweep.dir=sweep",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "sweep").glob("*/results.json"))) == 2
    report = cli("task=report", "report.runs=sweep", cwd=tmp_path)
    assert report.returncode == 0, report.stderr
    for rate in ("0.1", "0.6"):  # none of them is the paper's
        assert f"pnao.rate={rate}" in report.stdout
    assert "Ours(EnF+PNAO)" not in report.stdout
    assert (tmp_path / "sweep" / "report" / "index.html").is_file()
    assert not (tmp_path / "outputs").exists() or not list((tmp_path / "outputs").glob("*/*"))


@pytest.mark.soak
@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_says_how_to_continue_and_a_kill_leaves_no_worker(tmp_path: Path, workers: int) -> None:
    data = write_folder(tmp_path / "data", n=240)
    command = [
        sys.executable,
        "-m",
        "mer_lightning",
        "+experiment=pnao",
        *folder_overrides(data),
        *SMALL,
        f"folds.workers={workers}",
        "pnao.rounds=200",
        "pnao.rate=0",
        "trainer.epochs=40",
        "hydra.run.dir=out",
    ]
    for sent in (signal.SIGINT, signal.SIGKILL):
        process = started(command, tmp_path)
        done_before = len(list(tmp_path.glob("out/fold_*/round_*")))
        deadline = time.monotonic() + 60
        while (
            len(list(tmp_path.glob("out/fold_*/round_*"))) <= done_before + 1 and time.monotonic() < deadline
        ):
            time.sleep(0.05)
        process.send_signal(sent)
        out, err = process.communicate(timeout=60)
        if sent is signal.SIGINT:
            assert process.returncode == 130
            assert "interrupted; the finished rounds are kept. Continue with: python -m mer_lightning" in out
            assert "Traceback" not in err
    time.sleep(1.5)
    left = len(list(tmp_path.glob("out/fold_*/round_*")))
    time.sleep(1.5)
    assert len(list(tmp_path.glob("out/fold_*/round_*"))) == left  # no orphan trains on
    RunDirectory(tmp_path / "out").sweep_up()
    assert not list(tmp_path.glob("out/fold_*/.*"))


def test_a_part_of_a_run_is_continued_with_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = RunDirectory(tmp_path / "out" / "reference")  # a control's own PNAO run
    monkeypatch.setattr(sys, "argv", ["mer_lightning", "+experiment=random"])
    assert continue_command(inner).endswith(f"hydra.run.dir={inner.path}")
    runtime = SimpleNamespace(output_dir=str(tmp_path / "out"))
    hydra = SimpleNamespace(initialized=lambda: True, get=lambda: SimpleNamespace(runtime=runtime))
    monkeypatch.setattr("mer_lightning.views.terminal.HydraConfig", hydra)
    assert continue_command(inner).endswith(f"+experiment=random hydra.run.dir={tmp_path / 'out'}")


def test_a_run_directory_that_cannot_be_one(tmp_path: Path) -> None:
    data = write_folder(tmp_path / "data")
    mine = tmp_path / "mine"
    (mine / "model").mkdir(parents=True)
    (mine / "model" / "weights.bin").write_text("precious")
    (tmp_path / "file").write_text("precious")
    for target, message in (
        ("mine", "holds no run of this program"),
        ("file", "file"),
        ("file/below", "file"),
    ):
        done = cli(
            "+experiment=enf", *folder_overrides(data), *SMALL, f"hydra.run.dir={target}", cwd=tmp_path
        )
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1].startswith("error: ")
        assert message in done.stderr
        assert "Traceback" not in done.stderr
    assert (mine / "model" / "weights.bin").read_text() == "precious"
    assert (tmp_path / "file").read_text() == "precious"


def test_paths_need_no_quotes(tmp_path: Path) -> None:
    odd = tmp_path / "+experiment=pnao,data=folder,it's (1)"
    odd.mkdir()
    assert spelled_out(f"model={odd}").startswith("model.path='")
    parsed = OverridesParser.create().parse_override(spelled_out(f"report.runs={odd}"))
    assert parsed.value() == str(odd)
    unchanged = ("pnao.rate=0.1,0.2", "data.levels=[a,b]", "-m", "+experiment=pnao", f"input={tmp_path}")
    for untouched in unchanged:
        assert spelled_out(untouched) == untouched
    long = "seed=" + ",".join(map(str, range(200)))  # longer than a file's name may be
    assert spelled_out(long) == long
    assert spelled_out("input=~nobody/x,y") == "input=~nobody/x,y"
    home = OverridesParser.create().parse_override(spelled_out("hydra.run.dir=~/new"))
    assert home.value() == str(Path.home() / "new")
