"""Finished runs in order: data sets, the systems compared on each, and the seeds of each system."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mer_lightning.config.identity import flat, identity
from mer_lightning.files.recorded import Data
from mer_lightning.report.runs import TRAIN_VAL, FinishedRun

# Experiment -> its name in the paper's Table 1, in the table's order; then this project's controls.
PUBLISHED_NAMES = {
    "transformer": "sense-dl-lab",
    "label_revision": "AIPL-SEU",
    "ustc_qw": "USTC-qw",
    "baseline": "Baseline",
    "enf": "Ours(EnF)",
    "pnao_attention": "Ours(PNAO)",
    "pnao": "Ours(EnF+PNAO)",
    "final": "Ours(Final)",
}
ORDER = (*PUBLISHED_NAMES, "mean", "rewind_only", "random", "one_shot")


@dataclass(frozen=True)
class System:
    """One system: the finished runs that differ in their seeds alone, sorted by seed."""

    label: str  # the experiment's name, and the settings in which it differs from its usual ones
    experiment: str
    runs: tuple[FinishedRun, ...]

    @property
    def seeds(self) -> list[int]:
        """The seeds there are."""
        return [run.seed for run in self.runs]


@dataclass(frozen=True)
class DataSet:
    """A data set, with all that was measured on it in the same protocol; all runs have the same truth."""

    name: str
    protocol: str
    systems: tuple[System, ...]  # in the paper's order, then controls and others

    @property
    def data(self) -> Data:
        """``results.json``'s description of the data."""
        return self.systems[0].runs[0].results.data

    @property
    def synthetic(self) -> bool:
        """Whether the data are made up."""
        return self.data.synthetic

    @property
    def parts(self) -> list[str]:
        """Train&Val, then the test sets."""
        return self.systems[0].runs[0].parts

    @property
    def has_valence(self) -> bool:
        """Whether any utterance has a true valence; without, there is Dis alone."""
        return bool(np.isfinite(self.systems[0].runs[0].valence).any())

    @property
    def headline(self) -> tuple[str, str]:
        """Part and measure of the answers: the first labelled test set, else Train&Val; Com, else Dis."""
        run = self.systems[0].runs[0]
        labelled = [part for part in self.parts[1:] if run.scores(part)["dis"] is not None]
        part = labelled[0] if labelled else TRAIN_VAL
        return part, "dis" if run.scores(part)["com"] is None else "com"

    def system(self, label: str) -> System | None:
        """The system of that label, if it was run."""
        return next((s for s in self.systems if s.label == label), None)


def data_sets(runs: Sequence[FinishedRun]) -> list[DataSet]:
    """Runs grouped by their data, features, labels and protocol, then by system, then by seed."""
    groups: dict[str, list[FinishedRun]] = {}
    for run in runs:
        data, protocol = run.results.data, run.results.protocol
        labels = (data.name, data.classes, data.levels, data.shared, protocol, run.truth)
        groups.setdefault(repr((labels, sorted(run.features.items()))), []).append(run)
    names = unique_names([group[0] for group in groups.values()])
    return [
        DataSet(name, group[0].results.protocol, systems(group))
        for name, group in zip(names, groups.values(), strict=True)
    ]


def unique_names(firsts: Sequence[FinishedRun]) -> list[str]:
    """Names of data sets, told apart by their levels and protocol, or else by a number."""
    plain = [run.results.data.name for run in firsts]
    names = [
        f"{name} ({', '.join(run.results.data.levels)}; {run.results.protocol})"
        if plain.count(name) > 1
        else name
        for name, run in zip(plain, firsts, strict=True)
    ]
    return [
        f"{name} no. {names[: i + 1].count(name)}" if names.count(name) > 1 else name
        for i, name in enumerate(names)
    ]


def systems(runs: Sequence[FinishedRun]) -> tuple[System, ...]:
    """The systems among runs on one data set, in the paper's order."""
    found: dict[tuple[str, str], dict[int, FinishedRun]] = {}
    settings = [settings_of(run) for run in runs]
    for experiment in dict.fromkeys(run.experiment for run in runs):
        mine = [(r, s) for r, s in zip(runs, settings, strict=True) if r.experiment == experiment]
        usual = usual_settings([s for _, s in mine], settings)
        for run, own in mine:
            label = system_label(experiment, own, usual)
            found.setdefault((experiment, label), {})[run.seed] = run  # the same again: the later path counts
    made = [
        System(label, experiment, tuple(by_seed[seed] for seed in sorted(by_seed)))
        for (experiment, label), by_seed in found.items()
    ]
    return tuple(sorted(made, key=lambda s: (_rank(s.experiment), s.experiment, len(s.label), s.label)))


def _rank(experiment: str) -> int:
    return ORDER.index(experiment) if experiment in ORDER else len(ORDER)


def settings_of(run: FinishedRun) -> dict[str, str]:
    """``{"pnao.rate": "0.05", ...}``, what makes the run's system another one."""
    found = flat(identity(run.config, places=False) | {"seed": "", "experiment_name": ""})
    return {key: str(value) for key, value in found.items()}


def usual_settings(mine: Sequence[dict[str, str]], everyone: Sequence[dict[str, str]]) -> dict[str, str]:
    """Per key the value that most of ``mine`` have; of equals, the one most usual with ``everyone``."""
    usual = {}
    for key in dict.fromkeys(key for settings in mine for key in settings):
        counts = Counter(s[key] for s in mine if key in s)
        others = Counter(s[key] for s in everyone if key in s)
        usual[key] = max(counts, key=lambda value: (counts[value], others[value]))
    return usual


def system_label(experiment: str, own: dict[str, str], usual: dict[str, str]) -> str:
    """``pnao``, or ``pnao (pnao.rate=0.01)`` for a run with other settings than usual."""
    different = [f"{key}={value}" for key, value in own.items() if value != usual[key]]
    return f"{experiment} ({', '.join(different)})" if different else experiment


def other_settings(a: FinishedRun, b: FinishedRun) -> list[str]:
    """Settings besides fusion, pnao and combine in which two systems differ: a difference may be theirs."""
    mine, theirs = settings_of(a), settings_of(b)
    return [
        f"{key}: {mine[key]} and {theirs[key]}"
        for key in sorted(mine.keys() & theirs.keys())
        if mine[key] != theirs[key] and not key.startswith(("fusion.", "pnao.", "combine."))
    ]
