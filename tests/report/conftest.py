"""Finished runs to analyse, trained once for all test processes, and a report on them."""

import shutil
from pathlib import Path

import pytest
from filelock import FileLock

from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.report.report import write_report, write_run_report
from mer_lightning.report.runs import FinishedRun, find_runs
from mer_lightning.tasks import fit
from tests.conftest import SMALL, composed, folder_overrides, write_folder

PRUNED = ("pnao.rounds=2", "pnao.min_width=2")
SYSTEMS = {
    "baseline": ("pnao.rounds=0",),
    "enf": ("pnao.rounds=0",),
    "pnao": (*PRUNED, "pnao.rate=0.5"),
    "rewind_only": (*PRUNED, "pnao.rate=0"),
}
SEEDS = (0, 1, 2)


def train(root: Path) -> None:
    """Four systems of three seeds each; 29 speakers, 20 of them in the test set."""
    data = folder_overrides(write_folder(root / "data", n=120, speakers=29))
    for name, settings in SYSTEMS.items():
        for seed in SEEDS:
            config = composed(*data, *SMALL, f"+experiment={name}", f"seed={seed}", *settings)
            fit.run(config, RunDirectory(root / "runs" / f"{name}_{seed}"))


@pytest.fixture(scope="session")
def trained_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the runs; not to be changed."""
    root = tmp_path_factory.getbasetemp().parent / "analysis"  # the parent is all processes' own
    root.mkdir(exist_ok=True)
    with FileLock(root / ".lock"):
        if not (root / "done").exists():
            train(root)
            (root / "done").touch()
    return root / "runs"


@pytest.fixture(scope="session")
def finished(trained_runs: Path) -> list[FinishedRun]:
    """The same, read."""
    return find_runs(trained_runs)


@pytest.fixture(scope="session")
def reported(trained_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a report, and pages of the runs of seed 0; not to be changed."""
    runs = shutil.copytree(trained_runs, tmp_path_factory.mktemp("reported") / "runs")
    write_report(runs)
    for name in SYSTEMS:
        write_run_report(RunDirectory(runs / f"{name}_0"))
    return runs
