"""Sweeps: what fails does not stop the rest, what is finished is not done again, and the table is true."""

import csv
import io
import re
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from mer_lightning.config.compose import checked, conf_folder, register
from mer_lightning.config.job import folder_name
from mer_lightning.errors import UserError
from mer_lightning.files.recorded import Data, Results, Round
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.report.figures.sweep import Swept
from mer_lightning.report.methods import data_text
from mer_lightning.report.runs import find_runs
from mer_lightning.report.sweep import (
    Setting,
    by_seed,
    categories,
    mean_cells,
    read_settings,
    sweep_csv,
    sweep_picture,
    swept_number,
    varying,
)
from mer_lightning.report.systems import data_sets
from mer_lightning.tasks import sweep
from tests.conftest import SMALL, composed, folder_overrides, write_folder
from tests.processes import started
from tests.scores import made_scores

GRID = ("+experiment=pnao", "pnao.rate=0.1,1.5,0.6", "pnao.rounds=1", "trainer.epochs=2")


def installed(plugin: str) -> None:
    """Skip where Hydra's plugin is not there."""
    if find_spec("hydra_plugins") is None or find_spec(f"hydra_plugins.hydra_{plugin}") is None:
        pytest.skip(f"the extra with hydra's {plugin} is not installed")


def command(data: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "mer_lightning", "-m", *folder_overrides(data), *SMALL, *arguments]


def swept(data: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(data, *arguments), cwd=cwd, capture_output=True, text=True, timeout=300, check=False
    )


def setting(folder: Path, part: str) -> Path:
    return next(path for path in folder.iterdir() if part in path.name.split(","))


def table(folder: Path) -> list[dict[str, str]]:
    """sweep.csv without the times."""
    rows = list(csv.DictReader(io.StringIO((folder / "sweep.csv").read_text())))
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with small data in ``data``."""
    made = tmp_path_factory.mktemp("sweeps")
    write_folder(made / "data")
    return made


@pytest.fixture(scope="module")
def whole(place: Path) -> subprocess.CompletedProcess[str]:
    """A sweep into ``whole``, one setting of which fails."""
    return swept(place / "data", *GRID, "hydra.sweep.dir=whole", cwd=place)


def test_a_failed_setting_stops_no_other_and_is_named(
    whole: subprocess.CompletedProcess[str], place: Path
) -> None:
    assert whole.returncode == 1
    last = whole.stderr.strip().splitlines()[-1]
    assert last.startswith("error: 1 of the settings failed: pnao.rate=1.5.")
    assert "Traceback" not in whole.stderr
    folder = place / "whole"
    assert "expected a value in [0, 1)" in (setting(folder, "pnao.rate=1.5") / "error.txt").read_text()
    assert [row["pnao.rate"] for row in table(folder)] == ["0.1", "0.6"]
    for row in table(folder):
        results = RunDirectory(folder / row["setting"]).read_results()
        best = results.best
        assert float(row["validation_com"]) == best.validation.com
        assert float(row["test_test_dis"]) == best.test["test"].dis
        assert int(row["parameters"]) == best.parameters
        assert not (folder / row["setting"] / "error.txt").exists()
    assert (folder / "sweep.png").read_bytes().startswith(b"\x89PNG")


def test_ctrl_c_and_a_kill_lose_nothing(whole: subprocess.CompletedProcess[str], place: Path) -> None:
    """Sent while the last setting trains; then the same command ends like the undisturbed sweep."""
    again = command(place / "data", *GRID, "hydra.sweep.dir=killed")
    killed = place / "killed"
    for sent, done in (
        (signal.SIGINT, "*rate=0.1*/fold_0/round_0"),
        (signal.SIGKILL, "*rate=0.1*/report.html"),
    ):
        process = started(again, place)
        deadline = time.monotonic() + 120
        while not list(killed.glob(done)) and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(sent)
        out, _ = process.communicate(timeout=60)
        assert process.returncode == (130 if sent is signal.SIGINT else -9)
        if sent is signal.SIGINT:
            assert out.count("Continue with:") == 1
            assert out.strip().endswith("hydra.sweep.dir=killed")
    assert not (killed / "sweep.csv").exists()
    rounds = [*killed.glob("*/fold_*/round_*/round.json"), *killed.glob("*/results.json")]
    before = {path: path.stat().st_mtime_ns for path in rounds}
    assert len(before) >= 5
    done_again = subprocess.run(again, cwd=place, capture_output=True, text=True, timeout=300, check=False)
    assert done_again.stderr.splitlines()[-1] == whole.stderr.splitlines()[-1]
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert table(killed) == table(place / "whole")


@pytest.mark.parametrize(
    "mistake", ["+experiment=pnao,pano", "pnao.raet=0.1,0.2", "data.levels=[low],[high]"]
)
def test_what_does_not_compose_is_refused_before_any_training(
    place: Path, tmp_path: Path, mistake: str
) -> None:
    done = swept(place / "data", mistake, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert not list(tmp_path.iterdir())


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> RunDirectory:
    """The directory of a job, as in a sweep."""
    monkeypatch.setattr(sweep, "setting_name", lambda directory: "a=1")
    monkeypatch.setattr(sweep, "objective_count", lambda: 2)
    monkeypatch.setattr(sweep, "alongside", lambda: False)
    return RunDirectory(tmp_path)


def test_a_key_that_a_system_does_not_use_is_a_note(place: Path, tmp_path: Path) -> None:
    """And named feature sets stand side by side in the table and in the report."""
    arguments = ("+experiment=enf,transformer", "pnao.rounds=1", "network.heads=2", "trainer.epochs=1")
    named = ("data.features=audio,all", "data.sets.audio.levels=[low]", "data.sets.all={levels: [low, high]}")
    done = swept(place / "data", *arguments, *named, "hydra.sweep.dir=grid", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "note: transformer never prunes: pnao.rounds, pnao.rate, pnao.min_width left out" in done.stdout
    assert "note: enf is no transformer: network.heads left out" in done.stdout
    runs = {
        p.parent.name: RunDirectory(p.parent).read_results() for p in tmp_path.glob("grid/*/results.json")
    }
    assert {name: (len(run.rounds), list(run.data.levels)) for name, run in runs.items()} == {
        f"experiment={experiment},data.features={features}": (rounds, levels)
        for experiment, rounds in (("enf", 2), ("transformer", 1))
        for features, levels in (("audio", ["low"]), ("all", ["low", "high"]))
    }
    rows = [(row["experiment_name"], row["data.features"]) for row in table(tmp_path / "grid")]
    assert rows == [("enf", "all"), ("enf", "audio"), ("transformer", "all"), ("transformer", "audio")]
    assert {"data.levels", "data.shared", "pnao.rounds"}.isdisjoint(table(tmp_path / "grid")[0])
    (data,) = data_sets(find_runs(tmp_path / "grid"))
    assert [system.label for system in data.systems if system.experiment == "transformer"] == [
        f"transformer (data.features={name})" for name in ("all", "audio")
    ]
    assert "called audio: acoustic levels, with their dimensions: low (6)" in data_text(
        data, [run for system in data.systems for run in system.runs]
    )
    composed("+experiment=transformer")
    with pytest.raises(UserError, match="hierarchical networks"):  # alone, it is a mistake
        composed("+experiment=transformer", "pnao.rounds=1")


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["+experiment=transformer", "pnao.rounds=2", "pnao.scale=none", "network.attention=8"],
         ["transformer never prunes: pnao.rounds, pnao.scale",
          "transformer is a transformer: network.attention"]),
        (["+experiment=enf", "revision.choose=agreed"], ["enf revises no labels: revision.choose"]),
        (["+experiment=enf", "pnao.rate=0.1"], ["enf does not prune, by pnao.rounds=0: pnao.rate"]),
        (["+experiment=pnao", "pnao.like=x", "combine.runs=[x]", "fusion.weights=[1,1]"],
         ["pnao is no control: pnao.like", "pnao has another fusion: fusion.weights",
          "pnao combines no systems: combine.runs"]),
        (["+experiment=random", "pnao.like=x", "pnao.rounds=1", "fusion.calibrated=true"], []),
    ],
)  # fmt: skip
def test_in_a_grid_what_a_system_does_not_use_is_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], overrides: list[str], told: list[str]
) -> None:
    register(overrides)
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        settings = compose("config", overrides, return_hydra_config=True)
    hydra = settings.hydra
    OmegaConf.set_struct(settings, False)
    del settings.hydra
    sweep.leave_out_unused(settings)
    assert capsys.readouterr().out == ""  # alone, it is a mistake
    monkeypatch.setattr(sweep, "in_a_sweep", lambda: True)
    monkeypatch.setattr(sweep.HydraConfig, "get", lambda: hydra)
    sweep.leave_out_unused(settings)
    assert sorted(capsys.readouterr().out.splitlines()) == sorted(f"note: {line} left out" for line in told)
    assert checked(settings)


def test_a_folders_name_says_what_is_swept_and_is_safe_on_every_disk() -> None:
    assert folder_name("+experiment=pnao,seed=1", "x") == "experiment=pnao,seed=1"
    assert folder_name("", "pnao") == "pnao"
    odd = [f"data.group='{value}'" for value in ("../a", ".. a", "a:b", "a*b", "a" * 300, "中" * 99)]
    names = [folder_name(value, "x") for value in odd]
    assert len(set(names)) == len(odd)
    assert all(re.fullmatch(r"[\w.,=+-]+", name) and len(name.encode()) < 200 for name in names)


@pytest.mark.parametrize(
    ("sets", "told"),
    [
        (
            ["data.sets.audio.levels=[low]"],
            r"data\.features=audoi: expected one of audio; did you mean 'audio'",
        ),
        ([], r"no named sets; data\.sets\.audoi\.levels=\[a,b\] makes one"),
        (["data.sets.audoi.shared=[low]"], r"data\.sets\.audoi: expected levels, at least one"),
        (["data.sets.audoi={levels: [low], share: [x]}"], r"data\.sets\.audoi: expected levels"),
    ],
)
def test_a_name_for_no_feature_sets_is_a_mistake(sets: list[str], told: str) -> None:
    with pytest.raises(UserError, match=told):
        composed("data.features=audoi", *sets)
    with pytest.raises(UserError, match=r"data\.levels: cannot be swept; name the choices, data\.sets"):
        sweep.refuse_unnamed(["data.levels=[low],[high]"])
    with pytest.raises(UserError, match=r"hydra\.run\.dir is for one run; with -m, hydra\.sweep\.dir"):
        sweep.refuse_unnamed(["seed=0,1", "hydra.run.dir=there"])


def test_any_exception_is_noted_with_its_trace_and_forgotten_on_success(job: RunDirectory) -> None:
    def broken() -> None:
        raise ZeroDivisionError("odd\nthing")

    assert sweep.attempt(job, broken) is None
    assert job.error in dict(sweep.notes(job.path.parent))
    note = job.error.read_text()
    assert note.startswith(f"{sweep.MARK}ZeroDivisionError: odd thing\n")
    assert "in broken" in note
    job.refuse_foreign()  # the note is no stranger's file
    sweep.forget_failure(job)
    assert not job.error.exists()


def test_another_error_txt_is_never_touched(job: RunDirectory) -> None:
    job.error.write_text("precious")

    def broken() -> None:
        raise UserError("wrong")

    with pytest.raises(UserError, match="exists, and"):
        sweep.attempt(job, broken)
    sweep.forget_failure(job)
    assert job.error.read_text() == "precious"


@pytest.mark.parametrize("error", [UserError("x is broken; fix it"), ZeroDivisionError("odd\nthing")])
def test_what_goes_wrong_at_the_end_of_a_sweep_ends_it_with_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: Exception
) -> None:
    """Of an exception Hydra would make a warning, and the status would be 0."""

    def broken(*_: Any) -> None:
        raise error

    monkeypatch.setattr(sweep, "sweep_folder", lambda: tmp_path)
    monkeypatch.setattr(sweep, "sum_up", broken)
    hook = sweep.Sweep()
    hook.noted = {}
    with pytest.raises(SystemExit) as ended:
        hook.on_multirun_end(OmegaConf.create())
    assert str(ended.value).startswith("error: ")
    assert len(str(ended.value).splitlines()) == 1


def test_a_launcher_that_dies_cuts_the_sweep_short(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert sweep.cut_short(RuntimeError("job was killed")) is None  # not in a sweep
    monkeypatch.setattr(sweep, "in_a_sweep", lambda: True)
    monkeypatch.setattr(sweep, "sweep_folder", lambda: tmp_path)
    assert sweep.cut_short(UserError("refused as a whole")) is None
    told = sweep.cut_short(RuntimeError("job was\nkilled"))
    assert told is not None
    assert told.startswith("the sweep was cut short, RuntimeError: job was killed; what is finished is kept")
    assert told.endswith(f"hydra.sweep.dir={tmp_path}")


@pytest.mark.parametrize(
    ("choice", "plugin"), [("launcher=slurm", "submitit_launcher"), ("sweeper=search", "optuna_sweeper")]
)
def test_the_ready_configurations_compose(choice: str, plugin: str) -> None:
    """Their keys are those that the plugin knows."""
    installed(plugin)
    assert composed(f"hydra/{choice}")


@pytest.mark.parametrize(
    ("direction", "count"), [("maximize", 1), (["maximize", "minimize"], 2), ("minimize", None), ([], None)]
)
def test_the_objectives_are_the_score_and_the_size(
    monkeypatch: pytest.MonkeyPatch, direction: Any, count: int | None
) -> None:
    config = OmegaConf.create({"sweeper": {"direction": direction}})
    monkeypatch.setattr(sweep.HydraConfig, "get", lambda: config)
    if count is None:
        with pytest.raises(UserError, match=r"hydra\.sweeper\.direction"):
            sweep.objective_count()
    else:
        assert sweep.objective_count() == count


def made(name: str, rate: float, seed: int, com: float, **more: Any) -> Setting:
    scores = made_scores(com + 0.1, 0.4, com)
    left = round(1000 * (1 - rate))
    entry = Round(0, left, 1 - rate, 1, 1, 1.0, [1], com, 0.0, scores, [scores], {"t": scores}, 0.0, [])
    results = Results(
        experiment="pnao", seed=seed, folds=1, protocol="paper", transductive=False,
        data=Data("made", True, ["a"], {"x": 1}, {}, {"train": 1, "t": 1}),
        rounds=[entry], best_round=0, chosen_by="best", validation=scores, test={"t": scores},
        single={}, versions={}, seconds=1.0,
    )  # fmt: skip
    return Setting(name, {"pnao.rate": rate, **more, "seed": seed}, results)


def test_means_are_over_the_seeds_of_each_setting() -> None:
    settings = [made("a", 0.1, 0, 0.5), made("b", 0.1, 1, 0.7), made("c", 0.2, 0, 0.4)]
    groups = by_seed(settings)
    assert [len(group) for group in groups.values()] == [2, 1]
    first, second = (mean_cells(group, settings) for group in groups.values())
    assert first[3].startswith("0.6000 ± ")
    assert second[3] == "0.4000"
    assert first[-2:] == ["900", "90.0%"]
    assert len(sweep_csv(settings).splitlines()) == 4


def test_the_axis_is_the_number_with_most_values_and_else_a_category() -> None:
    rates = [made("a", r, s, 0.5, **{"fusion.kind": k}) for r in (0.1, 0.2) for s in (0, 1, 2) for k in "xy"]
    assert swept_number(rates) == "pnao.rate"  # not the seed, though it has more values
    assert sweep_picture(rates) != sweep_picture(rates[:-1])
    kinds = [Setting(s.name, {"fusion.kind": s.values["fusion.kind"], "seed": 0}, s.results) for s in rates]
    assert swept_number(kinds) is None
    (series,), axis, places = categories(kinds)
    assert isinstance(series, Swept)
    assert (axis, list(places.values())) == ("fusion.kind", ["x", "y"])
    assert list(series.values) == ["Com on validation", "Com on t", "Parameters"]
    assert sweep_picture(kinds).startswith(b"\x89PNG")


def test_keys_that_go_with_the_experiment_say_nothing_new() -> None:
    configs = [
        {"experiment_name": e, "fusion.kind": f, "pnao.rate": r, "seed": s, "data.folds": 5}
        for e, f in (("pnao", "entropy"), ("enf", "attention"))
        for r in (0.1, 0.2)
        for s in (0, 1)
    ]
    assert varying(configs) == ["experiment_name", "pnao.rate", "seed"]
    named = [
        {"data.features": name, "data.levels": levels, "seed": s}
        for name, levels in (("a", ["x"]), ("b", ["x", "y"]))
        for s in (0, 1)
    ]
    assert varying(named) == ["data.features", "seed"]
    assert varying([*named, named[0] | {"data.levels": []}]) == ["data.features", "data.levels", "seed"]
    assert varying([c | {"experiment_name": "pnao"} for c in configs]) == ["fusion.kind", "pnao.rate", "seed"]


@pytest.mark.soak
@pytest.mark.parametrize("launcher", ["joblib", "submitit_local", "ray"])
def test_a_launcher_gives_the_same_table(
    whole: subprocess.CompletedProcess[str], place: Path, launcher: str
) -> None:
    if launcher == "ray":
        pytest.importorskip("ray", reason="the extra ray is not installed")
    else:
        installed(f"{launcher.removesuffix('_local')}_launcher")
    done = swept(
        place / "data", *GRID, f"hydra/launcher={launcher}", f"hydra.sweep.dir={launcher}", cwd=place
    )
    assert done.stderr.splitlines()[-1] == whole.stderr.splitlines()[-1]
    assert table(place / launcher) == table(place / "whole")


@pytest.mark.soak
def test_optuna_searches_for_good_and_small(place: Path) -> None:
    installed("optuna_sweeper")
    done = swept(
        place / "data", *GRID[:1], *GRID[2:], "hydra/sweeper=search", "hydra.sweeper.n_trials=3",
        "hydra.sweep.dir=optuna", cwd=place,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    tried = read_settings(place / "optuna")
    assert len(tried) == 3
    judged = {(s.results.best.selection, float(s.results.best.parameters)) for s in tried}
    solutions = yaml.safe_load((place / "optuna" / "optimization_results.yaml").read_text())["solutions"]
    assert {tuple(solution["values"]) for solution in solutions} <= judged
    assert max(judged) in {tuple(solution["values"]) for solution in solutions}
