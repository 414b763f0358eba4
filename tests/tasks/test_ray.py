"""Ray's launcher: settings are its tasks, a lost one loses no other, and a lost machine's go on elsewhere."""

import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from filelock import FileLock
from hydra import initialize_config_dir
from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.core.singleton import Singleton
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig

from hydra_plugins.mer_lightning_ray import RayLauncher, connect
from mer_lightning.config.compose import conf_folder, register
from mer_lightning.errors import UserError
from mer_lightning.files.run_directory import RunDirectory
from tests.conftest import write_folder
from tests.processes import started
from tests.tasks.test_sweep import command, swept, table

RATES = ("pnao.rate=0.1", "pnao.rate=0.2", "pnao.rate=0.3")


class LostError(Exception):
    """What Ray raises for a task whose process dies every time."""


class FakeRay:
    """As much of ``ray`` as the launcher uses: tasks run when they are asked for, the last one first."""

    exceptions = SimpleNamespace(RayError=LostError)

    def __init__(self, lost: int) -> None:
        self.lost = lost
        self.options: dict[str, Any] = {}
        self.calls: dict[int, Callable[[], Any]] = {}

    def is_initialized(self) -> bool:
        return True

    def put(self, value: Any) -> Any:
        return value

    def remote(self, **options: Any) -> Callable[..., Any]:
        self.options = options
        return lambda task: SimpleNamespace(remote=lambda *given: self.noted(partial(task, *given), given[1]))

    def noted(self, call: Callable[[], Any], number: int) -> int:
        self.calls[number] = call
        return number

    def wait(self, tasks: list[int]) -> tuple[list[int], list[int]]:
        return tasks[-1:], tasks[:-1]

    def get(self, number: int) -> Any:
        if number == self.lost:
            raise LostError("the worker died")
        return self.calls[number]()


def launched(
    monkeypatch: pytest.MonkeyPatch, ray: Any, folder: Path, task: Callable[[DictConfig], Any]
) -> list[Any]:
    """What the settings of ``RATES``, jobs 1 to 3, return."""
    monkeypatch.setattr(Singleton, "_instances", dict(Singleton._instances))
    monkeypatch.setattr("mer_lightning.errors.optional", lambda *_: ray)
    given = ["+experiment=pnao", "hydra/launcher=ray", f"hydra.sweep.dir={folder}", "hydra.launcher.cpus=2"]
    swept = "pnao.rate=0.1,0.2,0.3"
    register([*given, swept])
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        config = loader.load_configuration("config", given, RunMode.MULTIRUN)
        values = {key: config.hydra.launcher[key] for key in config.hydra.launcher if key != "_target_"}
        launcher = RayLauncher(**values)
        launcher.setup(hydra_context=HydraContext(loader, Callbacks()), task_function=task, config=config)
        return [job.return_value for job in launcher.launch([[given[0], rate] for rate in RATES], 1)]


def rate_of(settings: DictConfig) -> float:
    print("did", settings.pnao.rate)
    return float(settings.pnao.rate)


def test_settings_are_tasks_and_their_outcomes_are_in_order(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    ray = FakeRay(lost=-1)
    assert launched(monkeypatch, ray, tmp_path / "sweep", rate_of) == [0.1, 0.2, 0.3]
    assert ray.options == {"num_cpus": 2, "num_gpus": 0, "max_retries": 3}
    assert capsys.readouterr().out.splitlines() == ["did 0.3", "did 0.2", "did 0.1"]  # as they end
    assert {path.name for path in (tmp_path / "sweep").iterdir()} == set(RATES)


def test_a_task_that_ray_loses_is_told_after_the_others_are_done(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with pytest.raises(LostError, match="the worker died"):
        launched(monkeypatch, FakeRay(lost=2), tmp_path, rate_of)
    told = capsys.readouterr()
    assert told.out.splitlines() == ["did 0.3", "did 0.1"]
    assert told.err == "failed    +experiment=pnao,pnao.rate=0.2: LostError\n"


def test_a_cluster_that_does_not_answer_is_one_line() -> None:
    def init(*_: Any, **__: Any) -> None:
        raise ConnectionError("no\none")

    ray = SimpleNamespace(is_initialized=lambda: False, init=init)
    for address, reason in (("auto", "no one$"), ("127.0.0.1:1", ".*refused"), ("127.0.0.1:x", "")):
        with pytest.raises(UserError, match=rf"^hydra\.launcher\.address={address}: Ray cannot .*: {reason}"):
            connect(ray, address)


def test_a_lock_that_ends_is_waited_for(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    run.wait_until_free(9.0)
    assert not run.path.exists()
    run.path.mkdir()
    with FileLock(run.path / ".lock"):
        begin = time.monotonic()
        run.wait_until_free(0.2)
        assert time.monotonic() - begin >= 0.2


@pytest.fixture
def cluster() -> Iterator[Any]:
    """Two machines of Ray's, of a core each, on this one."""
    pytest.importorskip("ray", reason="the extra ray is not installed")
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    yield made
    made.shutdown()


def tasks_of(node: Any) -> list[str]:
    """The processes of a machine of Ray's that work on a setting."""
    raylet = node.all_processes["raylet"][0].process.pid
    listed = subprocess.run(["ps", "--ppid", str(raylet), "-o", "pid=,args="], capture_output=True, text=True)
    return [line.split()[0] for line in listed.stdout.splitlines() if "ray::run_setting" in line]


def rounds(place: Path, number: object) -> list[Path]:
    """The files of the sweep's finished rounds."""
    return list(place.glob(f"ray/*/fold_*/round_{number}/round.json"))


@pytest.mark.soak
def test_a_lost_machines_settings_go_on_elsewhere(cluster: Any, tmp_path: Path) -> None:
    """Nothing is trained twice, and the table is that of an undisturbed sweep."""
    lost = cluster.add_node(num_cpus=1)
    data = write_folder(tmp_path / "data")
    long = ("+experiment=pnao", "pnao.rate=0.1,0.3,0.6", "pnao.rounds=3", "trainer.epochs=40")
    ray = ("hydra/launcher=ray", f"hydra.launcher.address={cluster.address}", "hydra.sweep.dir=ray")
    process = started(command(data, *long, *ray), tmp_path)
    deadline = time.monotonic() + 240
    while len({path.parent.parent.parent for path in rounds(tmp_path, 1)}) < 2:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    (task,) = tasks_of(lost)
    cluster.remove_node(lost, allow_graceful=False)
    while Path("/proc", task).exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    before = {path: path.stat().st_mtime_ns for path in rounds(tmp_path, "*")}
    assert not list(tmp_path.glob("ray/*/results.json"))
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert out.count("finished  ") == 3
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert swept(data, *long, "hydra.sweep.dir=quiet", cwd=tmp_path).returncode == 0
    assert table(tmp_path / "ray") == table(tmp_path / "quiet")
