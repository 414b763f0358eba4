"""The plan's runs: trained by the program's own sweeps, and read back as systems."""

import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from experiments.evidence.plan import (
    Found,
    Grid,
    Place,
    Plan,
    Sweep,
    Wanted,
    folder,
    search_sweeps,
    settings_of,
    sizes_sweep,
    sweeps,
)
from experiments.evidence.record import Record
from experiments.evidence.search import found, tried
from mer_lightning.errors import UserError
from mer_lightning.report.runs import FinishedRun, read_run

Seeds = dict[int, list[FinishedRun]]  # seed -> runs, one per outer test fold in order
FULL_SIZE = "full_size"  # the name of its folder, and of the choice --only
Launch = Callable[[Sequence[str]], int]


def launch(overrides: Sequence[str]) -> int:
    """A sweep in a process of its own; its exit status."""
    return subprocess.run([sys.executable, "-m", "mer_lightning", "-m", *overrides], check=False).returncode


def train(plan: Plan, grid: Grid, want: Wanted, place: Place, start: Launch = launch) -> None:
    """Find each system's dropout, then train what is not trained yet.

    Raises UserError if a sweep failed; the later ones are not started then, because controls follow theirs.
    """
    _run(grid.name, search_sweeps(plan, grid, want, place), place[1], start)
    _run(grid.name, sweeps(grid, want, found(tried(plan, grid, place[1])), place), place[1], start)


def _run(data: str, asked: Iterable[Sweep], output: Path, start: Launch) -> None:
    """A sweep whose runs are finished with the same settings is not started again."""
    for sweep in asked:
        record, paths = Record(output), sweep.paths(output)
        if all(record.finished(path, sweep.settings) for path in paths):
            continue
        record.add((path for path in paths if not path.exists()), sweep.settings)
        print(f"evidence  {data}: {', '.join(system.name for system in sweep.systems)}", flush=True)
        if status := start(sweep.overrides):
            raise UserError(
                f"{data}: a sweep ended with status {status}; see above. "
                "What is finished is kept, and the same command goes on"
            )
        record.add(paths, sweep.settings)  # those that lay there, too: the program refuses other settings


def train_full_size(plan: Plan, place: Place, start: Launch = launch) -> None:
    """``pnao`` in the shape of MER 2023, once. Raises UserError if it failed."""
    _run(FULL_SIZE, [sizes_sweep(plan, place)], place[1], start)


def read_full_size(plan: Plan, output: Path) -> FinishedRun | None:
    """That run; None where it is not finished."""
    sweep = sizes_sweep(plan, (Path(), output))
    (path,) = sweep.paths(output)
    return read_run(path) if Record(output).finished(path, sweep.settings) else None


def read_systems(plan: Plan, grid: Grid, chosen: Found, output: Path) -> dict[str, Seeds]:
    """The systems there are, in the plan's order; a seed counts where it has a run for every test fold."""
    read: dict[str, Seeds] = {}
    record = Record(output)
    for name, system in plan.systems.items():
        if any((system.like, test) not in chosen for test in grid.tests):
            continue
        paths = {
            seed: [output / folder(name, chosen[system.like, test], test, seed) for test in grid.tests]
            for seed in range(grid.seeds)
        }
        settings = settings_of(grid, system)
        whole = {s: own for s, own in paths.items() if all(record.finished(path, settings) for path in own)}
        if whole:
            read[name] = {seed: [read_run(path) for path in own] for seed, own in whole.items()}
    return read
