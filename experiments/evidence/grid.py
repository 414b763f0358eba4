"""The plan's runs: trained by the program's own sweeps, and read back as systems."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from experiments.evidence.plan import Grid, Plan, folder, sweeps
from mer_lightning.errors import UserError
from mer_lightning.files.atomic import write_text
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.report.runs import FinishedRun, read_run

Seeds = dict[int, list[FinishedRun]]  # seed -> runs, one per outer test fold in order
Launch = Callable[[Sequence[str]], int]


def launch(overrides: Sequence[str]) -> int:
    """A sweep in a process of its own; its exit status."""
    return subprocess.run([sys.executable, "-m", "mer_lightning", "-m", *overrides], check=False).returncode


def train(plan: Plan, grid: Grid, data: Path, output: Path, start: Launch = launch) -> None:
    """Train what is not trained yet. A sweep that finished with the same settings is not started again.

    Raises UserError if a sweep failed; the later ones are not started then, because controls follow theirs.
    """
    for sweep in sweeps(plan, grid, data, output):
        done = output / f".{sweep.systems[0]}.done"
        settings = "\n".join(sweep.overrides[:-2]) + "\n"  # but for the place
        paths = (p for name in sweep.systems for runs in paths_of(output, grid, name).values() for p in runs)
        whole = all(RunDirectory(path).finished for path in paths)
        if whole and done.is_file() and done.read_text(encoding="utf-8") == settings:
            continue
        print(f"evidence  {grid.name}: {', '.join(sweep.systems)}", flush=True)
        if status := start(sweep.overrides):
            raise UserError(
                f"{grid.name}: a sweep ended with status {status}; see above. "
                "What is finished is kept, and the same command goes on"
            )
        write_text(done, settings)


def paths_of(output: Path, grid: Grid, system: str) -> dict[int, list[Path]]:
    """Seed -> the folders of a system's runs."""
    return {seed: [output / folder(system, t, seed) for t in grid.tests] for seed in range(grid.seeds)}


def read_systems(plan: Plan, grid: Grid, output: Path) -> dict[str, Seeds]:
    """The systems there are, in the plan's order; a seed counts where it has a run for every test fold."""
    found: dict[str, Seeds] = {}
    for name in plan.systems:
        seeds = {
            seed: [read_run(path) for path in paths]
            for seed, paths in paths_of(output, grid, name).items()
            if all(RunDirectory(path).finished for path in paths)
        }
        if seeds:
            found[name] = seeds
    return found
