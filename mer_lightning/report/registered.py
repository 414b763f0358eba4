"""Finished runs against a file that said beforehand what would be run, and how it would be judged.

Such a file is YAML: ``experiments/mer2023/registered.yaml`` is one, and says what each key means.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from mer_lightning.errors import reading
from mer_lightning.files.plain_yaml import read_yaml
from mer_lightning.report.costs import MARGIN, cost
from mer_lightning.report.pairs import Comparison, compare, corrected
from mer_lightning.report.prose import signed
from mer_lightning.report.runs import FinishedRun
from mer_lightning.report.systems import DataSet, Settings, System, changes, settings_of

AS_REGISTERED = "every registered run is there, and no other"


@dataclass(frozen=True)
class Planned:
    """A system: its experiment, and the settings that are not those of the experiment's file."""

    experiment: str
    changed: Settings


@dataclass(frozen=True)
class Registered:
    """What was to be run and compared."""

    protocol: str
    folds: int
    seeds: tuple[int, ...]
    utterances: dict[str, int]  # split -> how many
    part: str
    measure: str
    margin: float
    systems: dict[str, Planned]
    comparisons: list[tuple[str, str, bool]]  # first, second, whether a loss of the margin is to be ruled out


def read_registered(path: Path) -> Registered:
    """The file. Raises UserError where it is not there, or says something else than such a file says."""
    with reading(path, "experiments/mer2023/registered.yaml shows how such a file looks"):
        found = read_yaml(path.read_text(encoding="utf-8"))
        systems = {
            name: Planned(
                system.get("experiment", name), {k: str(v) for k, v in system.get("settings", {}).items()}
            )
            for name, system in found["systems"].items()
        }
        pairs = [(c["first"], c["second"], bool(c.get("no_loss"))) for c in found["comparisons"]]
        if unknown := {name for first, second, _ in pairs for name in (first, second)} - systems.keys():
            raise ValueError(f"compares {', '.join(sorted(unknown))}, which its systems lack")
        if found["margin"] != MARGIN:
            raise ValueError(f"margin: {found['margin']}, reports use {MARGIN}")
        return Registered(
            found["protocol"], int(found["folds"]), tuple(found["seeds"]), dict(found["utterances"]),
            found["endpoint"]["part"], found["endpoint"]["measure"], MARGIN, systems, pairs,
        )  # fmt: skip


def check(registered: Registered, data: DataSet) -> list[str]:
    """What is missing of a data set's runs, what differs, and what was run that is not registered."""
    told = [*_differs_everywhere(registered, data)]
    seen: dict[str, set[int]] = {name: set() for name in registered.systems}
    for run in (run for system in data.systems for run in system.runs):
        changed = changed_settings(run)
        home = [n for n, p in registered.systems.items() if p == Planned(run.experiment, changed)]
        if home and run.seed in registered.seeds:
            seen[home[0]].add(run.seed)
        else:
            told.append(_stranger(registered, run, changed))
    for name, seeds in seen.items():
        if lacking := [str(seed) for seed in registered.seeds if seed not in seeds]:
            told.append(f"missing: {name}, seed {', '.join(lacking)}")
    return told or [AS_REGISTERED]


def changed_settings(run: FinishedRun) -> Settings:
    """Settings that are not those of the experiment's file, but for the data's and the protocol."""
    changed = changes(run.experiment, settings_of(run), ())
    return {key: value for key, value in changed.items() if key != "protocol"}


def _differs_everywhere(registered: Registered, data: DataSet) -> list[str]:
    """What all runs of a data set have in common."""
    folds = sorted({run.results.folds for system in data.systems for run in system.runs})
    here = {split: data.data.n.get(split, 0) for split in registered.utterances}
    pairs = [
        ("protocol", data.protocol, registered.protocol),
        ("folds", ", ".join(map(str, folds)), str(registered.folds)),
        *((f"utterances in {split}", str(n), str(registered.utterances[split])) for split, n in here.items()),
    ]
    return [f"differs: {what} {mine}, registered {theirs}" for what, mine, theirs in pairs if mine != theirs]


def _stranger(registered: Registered, run: FinishedRun, changed: Settings) -> str:
    """A run that is none of the registered ones: the nearest system of its experiment says in what."""
    near = [(n, p.changed) for n, p in registered.systems.items() if p.experiment == run.experiment]
    if not near:
        return f"not registered: {run.experiment}, seed {run.seed} ({run.path})"
    apart = [(n, dict(set(changed.items()) ^ set(theirs.items())).keys(), theirs) for n, theirs in near]
    name, keys, theirs = min(apart, key=lambda entry: len(entry[1]))
    if not keys:
        return f"not registered: {name}, seed {run.seed} ({run.path})"
    said = "; ".join(
        f"{key} is {changed.get(key, 'as its file says')}, registered {theirs.get(key, 'as its file says')}"
        for key in sorted(keys)
    )
    return f"differs: {run.path}, from {name}: {said}"


def endpoint(registered: Registered, data: DataSet) -> list[str]:
    """The registered comparisons that can be made, at the endpoint, corrected as one family."""
    here = {name: _system(name, planned, data) for name, planned in registered.systems.items()}
    family: list[Comparison] = []
    for first, second, no_loss in registered.comparisons:
        a, b = here[first], here[second]
        if a and b and set(a.seeds) & set(b.seeds):
            family.append(
                cost(a, b, registered.part, registered.measure)
                if no_loss
                else compare(a, b, f"{first} - {second}", registered.part, registered.measure, [])
            )
    return [_line(c, registered) for c in corrected(family)]


def _system(name: str, planned: Planned, data: DataSet) -> System | None:
    """A registered system under its registered name; None where it was not run."""
    for system in data.systems:
        if Planned(system.experiment, changed_settings(system.runs[0])) == planned:
            return replace(system, label=name)
    return None


def _line(c: Comparison, registered: Registered) -> str:
    """``pnao - rewind_only in the same round: Com on Train&Val +0.0010 [-0.0100, +0.0120], ...``."""
    if (d := c.difference) is None:
        return f"{c.first} - {c.against}: {registered.part} has no labels for {registered.measure}"
    low, high = d.interval(c.alpha)
    kind = f"no loss of {MARGIN:g}: " if c.null else ""
    return (
        f"{c.first} - {c.against}: {registered.measure.title()} on {registered.part} {signed(d.value)} "
        f"[{signed(low)}, {signed(high)}], {kind}{c.verdict} ({d.clusters} {c.unit}, {d.seeds} seeds)"
    )
