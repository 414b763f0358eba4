"""What is run: ``plan.yaml`` as data, and the commands of the program that it comes to."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from mer_lightning.errors import UserError, reading
from mer_lightning.files.plain_yaml import read_yaml

PLAN = Path(__file__).with_name("plan.yaml")

SIZED = "pnao"  # the system whose sizes and times in full size are told
Row = dict[str, str | int | float | None]  # of a table
Found = Mapping[tuple[str, int | None], float]  # system, outer test fold -> dropout
Place = tuple[Path, Path]  # the folder of the data sets, and that of the runs


@dataclass(frozen=True)
class Grid:
    """A data set: its settings, seeds and outer test folds; 0: the labels' one split."""

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
class System:
    """A system's name, its overrides, and the system whose dropout it takes: itself where it is searched."""

    name: str
    experiment: str
    settings: tuple[str, ...]
    like: str

    @property
    def searched(self) -> bool:
        """Whether its dropout is found by its own fits."""
        return self.like == self.name


@dataclass(frozen=True)
class Plan:
    """Everything that is run and asked."""

    margin: float
    systems: dict[str, System]
    questions: list[Question]
    drawn: list[str]
    dropouts: list[float]  # what the search tries
    sets: dict[str, Grid]
    full_size: str  # overrides of made-up data in the shape of MER 2023
    text: str = field(repr=False)  # of the file


@dataclass(frozen=True)
class Wanted:
    """What of the plan is to be run: systems in the plan's order, and the first seeds of a data set."""

    systems: tuple[System, ...]
    seeds: int

    @property
    def searched(self) -> tuple[System, ...]:
        """Those whose dropout is to be found, for themselves or for those that take it."""
        like = {system.like for system in self.systems}
        return tuple(system for system in self.systems if system.name in like)


@dataclass(frozen=True)
class Sweep:
    """One command: systems that share their settings, on one data set."""

    systems: tuple[System, ...]
    dropouts: tuple[float, ...]
    tests: tuple[int | None, ...]
    seeds: int
    settings: str  # what the names of its runs' folders do not say
    overrides: list[str]

    def paths(self, output: Path) -> list[Path]:
        """The folders of its runs."""
        return [
            output / folder(system.name, dropout, test, seed)
            for system in self.systems
            for dropout in self.dropouts
            for test in self.tests
            for seed in range(self.seeds)
        ]


def read_plan(quick: bool = False, path: Path = PLAN) -> Plan:
    """The full plan or the quick one. Raises UserError where the file is broken."""
    text = path.read_text(encoding="utf-8")
    with reading(path, "restore it"):
        found = read_yaml(text)
        part = found["quick" if quick else "full"]
        return Plan(
            margin=found["margin"],
            systems={name: _system(name, s, part) for name, s in found["systems"].items()},
            questions=[Question(**q) for q in found["questions"]],
            drawn=found["drawn"],
            dropouts=part["dropouts"],
            sets={name: Grid(name, **settings) for name, settings in part["sets"].items()},
            full_size=part["full_size"],
            text=text,
        )


def _system(name: str, said: dict[str, str], part: dict[str, Any]) -> System:
    words = " ".join((part["every"], part["settings"][said["settings"]], said.get("with", "")))
    return System(name, said.get("experiment", name), tuple(words.split()), said.get("like", name))


def wanted(plan: Plan, grid: Grid, names: Sequence[str] | None = None, seeds: int | None = None) -> Wanted:
    """Those systems with what they take their dropout from, and that many seeds; all without them.

    Raises UserError for a name that the plan lacks.
    """
    if unknown := set(names or ()) - plan.systems.keys():
        raise UserError(f"--system {sorted(unknown)[0]}: the plan has {', '.join(plan.systems)}")
    kept = {like for name in names or plan.systems for like in (name, plan.systems[name].like)}
    systems = tuple(system for name, system in plan.systems.items() if name in kept)
    return Wanted(systems, min(seeds or grid.seeds, grid.seeds))


def folder(system: str, dropout: float | str, test: int | str | None, seed: int | str) -> str:
    """The name of a run's folder; of numbers, or of what Hydra puts in their place.

    >>> folder("pnao", 0.5, 1, 0), folder("pnao", 0.3, None, "${seed}")
    ('pnao_d0.5_f1_s0', 'pnao_d0.3_s${seed}')
    """
    return "_".join([system, f"d{dropout}", *([f"f{test}"] * (test is not None)), f"s{seed}"])


def settings_of(grid: Grid, system: System) -> str:
    """What a run's settings are, but for what its folder's name says: data, and settings."""
    return " ".join([*grid.data.split(), *system.settings])


def search_sweeps(plan: Plan, grid: Grid, want: Wanted, place: Place) -> Iterator[Sweep]:
    """The commands that try every dropout of the plan with the first seed."""
    for systems in _alike(want.searched):
        yield _sweep(grid, systems, tuple(plan.dropouts), tuple(grid.tests), 1, place)


def sweeps(grid: Grid, want: Wanted, found: Found, place: Place) -> Iterator[Sweep]:
    """The commands that train every system with the dropout that was found, in the plan's order.

    One folder for all, so that controls find the run whose sizes they match, and round 0 is shared.
    """
    for systems in _alike(want.systems):
        parts: dict[tuple[float, tuple[int | None, ...]], list[System]] = {}
        for system in systems:
            own = {test: found[system.like, test] for test in grid.tests}
            for dropout in dict.fromkeys(own.values()):
                tests = tuple(test for test in grid.tests if own[test] == dropout)
                parts.setdefault((dropout, tests), []).append(system)
        for (dropout, tests), same in parts.items():
            yield _sweep(grid, tuple(same), (dropout,), tests, want.seeds, place)


def sizes_sweep(plan: Plan, place: Place) -> Sweep:
    """The command that prunes a network of full size once; its scores say nothing."""
    grid = Grid("synthetic", plan.full_size, 1)
    return _sweep(grid, (plan.systems[SIZED],), tuple(plan.dropouts[:1]), (None,), 1, place)


def _alike(systems: Sequence[System]) -> Iterator[tuple[System, ...]]:
    """Neighbours that one sweep can train: those with the same settings."""
    for _, group in groupby(systems, lambda system: system.settings):
        yield tuple(group)


def _sweep(
    grid: Grid,
    systems: tuple[System, ...],
    dropouts: tuple[float, ...],
    tests: tuple[int | None, ...],
    seeds: int,
    place: Place,
) -> Sweep:
    data, output = place
    where = [] if grid.made_up else ["data=folder", f"data.root={data / grid.name}"]
    outer = [f"data.test_fold={_joined(tests)}"] if grid.outer else []
    experiments = [system.experiment for system in systems]
    own = [system.name for system in systems]
    if own != experiments and len(own) > 1:
        raise UserError(f"{PLAN}: {', '.join(own)} have the same settings; give each its own")
    name = folder(
        "${experiment_name}" if own == experiments else own[0],
        "${network.dropout}",
        "${data.test_fold}" if grid.outer else None,
        "${seed}",
    )
    return Sweep(
        systems, dropouts, tests, seeds, settings_of(grid, systems[0]),
        [
            f"seed={_joined(range(seeds))}", *outer, f"network.dropout={_joined(dropouts)}",
            f"+experiment={','.join(experiments)}", *where, *grid.data.split(), *systems[0].settings,
            f"hydra.sweep.dir={output}", f"hydra.sweep.subdir={name}",
        ],
    )  # fmt: skip


def _joined(values: Iterable[float | None]) -> str:
    return ",".join(map(str, values))
