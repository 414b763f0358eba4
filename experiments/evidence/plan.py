"""What is run: ``plan.yaml`` as data, and the commands of the program that it comes to."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from mer_lightning.errors import UserError, reading
from mer_lightning.files.plain_yaml import read_yaml

PLAN = Path(__file__).with_name("plan.yaml")


@dataclass(frozen=True)
class Grid:
    """A data set: its settings, seeds and outer test folds; 0: its own test set."""

    name: str
    data: str
    seeds: int
    outer: int = 0

    @property
    def tests(self) -> list[int | None]:
        """The outer folds, or None once."""
        return list(range(self.outer)) or [None]

    @property
    def made_up(self) -> bool:
        """Whether it needs no files."""
        return self.data.startswith("data=synthetic")


@dataclass(frozen=True)
class Question:
    """First minus second; see ``plan.yaml``."""

    ask: str
    first: str
    second: str
    same_round: bool = False  # the second in the first's chosen round
    no_loss: bool = False  # whether a loss of the margin is ruled out, not whether the first is better


@dataclass(frozen=True)
class Plan:
    """Everything that is run and asked."""

    margin: float
    systems: dict[str, list[str]]  # name -> overrides
    questions: list[Question]
    drawn: list[str]
    sets: dict[str, Grid]
    text: str = field(repr=False)  # of the file


@dataclass(frozen=True)
class Sweep:
    """One command: systems that share their settings, on one data set."""

    systems: tuple[str, ...]
    overrides: list[str]


def read_plan(quick: bool = False, path: Path = PLAN) -> Plan:
    """The full plan or the quick one. Raises UserError where the file is broken."""
    text = path.read_text(encoding="utf-8")
    with reading(path, "restore it"):
        found = read_yaml(text)
        part = found["quick" if quick else "full"]
        return Plan(
            margin=found["margin"],
            systems={name: _overrides(name, s, part) for name, s in found["systems"].items()},
            questions=[Question(**q) for q in found["questions"]],
            drawn=found["drawn"],
            sets={name: Grid(name, **settings) for name, settings in part["sets"].items()},
            text=text,
        )


def _overrides(name: str, system: dict[str, str], part: dict[str, Any]) -> list[str]:
    """``+experiment=NAME`` first, then its settings."""
    words = (part["every"], part["settings"][system["settings"]], system.get("with", ""))
    return [f"+experiment={system.get('experiment', name)}", *" ".join(words).split()]


def folder(system: str, test: int | str | None, seed: int | str) -> str:
    """The name of a run's folder; of numbers, or of what Hydra puts in their place.

    >>> folder("pnao", 1, 0), folder("pnao", None, "${seed}")
    ('pnao_f1_s0', 'pnao_s${seed}')
    """
    return f"{system}_s{seed}" if test is None else f"{system}_f{test}_s{seed}"


def sweeps(plan: Plan, grid: Grid, data: Path, output: Path) -> Iterator[Sweep]:
    """The commands that train every system on a data set, all into ``output``, in the plan's order.

    One folder for all, so that controls find the run whose sizes they match, and round 0 is shared.
    """
    where = [] if grid.made_up else ["data=folder", f"data.root={data / grid.name}"]
    swept = [f"seed={_numbers(grid.seeds)}", *([f"data.test_fold={_numbers(grid.outer)}"] * bool(grid.outer))]
    for settings, group in groupby(plan.systems, lambda name: plan.systems[name][1:]):
        names = tuple(group)
        experiments = [plan.systems[name][0].removeprefix("+experiment=") for name in names]
        own = "${experiment_name}" if list(names) == experiments else names[0]
        if own == names[0] and len(names) > 1:
            raise UserError(f"{PLAN}: {', '.join(names)} have the same settings; give each its own")
        name = folder(own, "${data.test_fold}" if grid.outer else None, "${seed}")
        yield Sweep(
            names,
            [
                *swept, f"+experiment={','.join(experiments)}", *where, *grid.data.split(), *settings,
                f"hydra.sweep.dir={output}", f"hydra.sweep.subdir={name}",
            ],
        )  # fmt: skip


def _numbers(count: int) -> str:
    return ",".join(map(str, range(count)))
