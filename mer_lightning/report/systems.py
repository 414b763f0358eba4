"""Finished runs in order: data sets, the systems compared on each, and the seeds of each system."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cache
from typing import Any, cast

import numpy as np
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from mer_lightning.config.compose import conf_folder, register
from mer_lightning.config.identity import flat, identity
from mer_lightning.files.recorded import Data
from mer_lightning.report.runs import TRAIN_VAL, FinishedRun

Settings = dict[str, str]  # {"pnao.rate": "0.05", ...}

# Experiment -> its name in the paper's Table 1, in the table's order; then this project's controls.
PUBLISHED_NAMES = {
    "transformer": "sense-dl-lab",
    "label_revision": "AIPL-SEU",
    "ustc_qw": "USTC-qw",
    "baseline": "Baseline",
    "enf": "Ours(EnF)",
    "pnao_attention": "Ours(PNAO)",
    "pnao": "Ours(EnF+PNAO)",
    "pnao_paper": "Ours(EnF+PNAO), to the letter",
    "final": "Ours(Final)",
}
CONTROLS = ("mean", "rewind_only", "long", "random", "shuffled", "one_shot", "scratch", "thin_attention")
ORDER = (*PUBLISHED_NAMES, *CONTROLS)
DESIGN = ("fusion.", "pnao.", "combine.", "revision.")  # what a system is: always in its name


@dataclass(frozen=True)
class System:
    """One system: the finished runs that differ in their seeds alone, sorted by seed."""

    label: str  # the experiment's name, and its changed settings but for those that all systems share
    experiment: str
    runs: tuple[FinishedRun, ...]
    changed: Settings = field(default_factory=dict)  # settings that are not those of the experiment's file

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

    @property
    def shared_changes(self) -> Settings:
        """Changed settings that are not in the systems' names, because all have them."""
        return shared([system.changed for system in self.systems])

    def of(self, experiment: str) -> list[System]:
        """The systems of an experiment, the one with the fewest changed settings first."""
        return [s for s in self.systems if s.experiment == experiment]


def data_sets(runs: Sequence[FinishedRun]) -> list[DataSet]:
    """Runs grouped by their data, features, labels and protocol, then by system, then by seed."""
    groups: list[list[FinishedRun]] = []
    for run in runs:
        home = next((group for group in groups if not any(unlike(run, other) for other in group)), None)
        if home is None:
            groups.append(home := [])
        home.append(run)
    names = unique_names([group[0] for group in groups])
    return [
        DataSet(name, group[0].results.protocol, systems(group))
        for name, group in zip(names, groups, strict=True)
    ]


def apart(sets: Sequence[DataSet]) -> list[str]:
    """Why each data set after the first is none with the first, a sentence each."""
    first, *others = (data.systems[0].runs[0] for data in sets)
    return [
        f"{data.name} is kept apart from {sets[0].name}: they differ in {', '.join(unlike(first, other))}."
        for data, other in zip(sets[1:], others, strict=True)
    ]


def unlike(a: FinishedRun, b: FinishedRun) -> list[str]:
    """Why two runs cannot be compared: in what they differ, each under its name for people.

    Of runs on named feature sets (``data.features``) only the sets that both have must be the same.
    """
    mine, theirs = identity_of(a), identity_of(b)
    found = [key for key, value in mine.items() if value != theirs[key]]
    if {n: a.features[n] for n in both(a, b)} != {n: b.features[n] for n in both(a, b)}:
        found.append("the features' values")
    return found


def both(a: FinishedRun, b: FinishedRun) -> set[str]:
    """The feature sets whose values both runs know."""
    return a.features.keys() & b.features.keys()


def identity_of(run: FinishedRun) -> dict[str, Any]:
    """What runs must share to be compared, each under its name for people."""
    data, named = run.results.data, run.config["data"].get("features") is not None
    return {
        "name": data.name,
        "classes": data.classes,
        "levels": [] if named else data.levels,
        "shared feature sets": [] if named else data.shared,
        "protocol": run.results.protocol,
        "utterances, splits or labels": run.truth,
    }


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
    settings = [settings_of(run) for run in runs]
    swept = {key for s in settings for key in s if len({t[key] for t in settings if key in t}) > 1}
    names, *told = (
        [s.get(key, "") for s in settings] for key in ("data.features", "data.levels", "data.shared")
    )
    if len(set(names)) > 1 and all(goes_with(values, names) for values in told):
        swept -= {"data.levels", "data.shared"}  # the name says them
    found: dict[tuple[Any, ...], dict[int, FinishedRun]] = {}
    for run, own in zip(runs, settings, strict=True):
        key = (run.experiment, *changes(run.experiment, own, swept).items())
        found.setdefault(key, {})[run.seed] = run  # the same again: the later path counts
    everywhere = shared([dict(changed) for _, *changed in found])
    made = [
        System(name(e, dict(c), everywhere), e, tuple(by_seed[s] for s in sorted(by_seed)), dict(c))
        for (e, *c), by_seed in found.items()
    ]
    return tuple(sorted(made, key=lambda s: (_rank(s.experiment), s.experiment, len(s.changed), s.label)))


def goes_with(values: Sequence[str], names: Sequence[str]) -> bool:
    """Whether each name has one value throughout."""
    return len(set(zip(names, values, strict=True))) == len(set(names))


def _rank(experiment: str) -> int:
    return ORDER.index(experiment) if experiment in ORDER else len(ORDER)


def of_the_system(config: Mapping[str, Any]) -> Settings:
    """``{"pnao.rate": "0.05", ...}`` of a configuration: what makes its system another one."""
    found = flat(identity(config, places=False))
    return {key: str(value) for key, value in found.items() if key not in ("seed", "experiment_name")}


def settings_of(run: FinishedRun) -> Settings:
    """A run's settings; without rounds those of pruning do nothing."""
    found = of_the_system(run.config)
    idle = found.get("pnao.rounds") == "0"
    return {k: v for k, v in found.items() if not (idle and k.startswith("pnao.")) or k == "pnao.rounds"}


@cache
def own_settings(experiment: str) -> Settings:
    """What ``+experiment=NAME`` composes to; of a name without a file the plain configuration."""
    register()
    files = {path.stem for path in (conf_folder() / "experiment").glob("*.yaml")}
    running = GlobalHydra.instance().is_initialized()  # from the command line: it has the folder already
    with nullcontext() if running else initialize_config_dir(str(conf_folder()), version_base="1.3"):
        composed = compose("config", [f"+experiment={experiment}"] if experiment in files else [])
    return of_the_system(cast(dict[str, Any], OmegaConf.to_container(composed, resolve=True)))


def changes(experiment: str, settings: Settings, swept: Collection[str]) -> Settings:
    """Settings unlike those of the experiment's file; of the data's, which it leaves open, the swept ones."""
    own = own_settings(experiment)
    return {
        key: value
        for key, value in sorted(settings.items())
        if (key in swept if key.startswith("data.") else own.get(key) != value)
    }


def shared(changed: Sequence[Settings]) -> Settings:
    """What several systems have all changed alike: said once, but for what says what a system is."""
    common = set.intersection(*(set(c.items()) for c in changed)) if len(changed) > 1 else set()
    return {key: value for key, value in sorted(common) if not key.startswith(DESIGN)}


def name(experiment: str, changed: Settings, left_out: Settings) -> str:
    """``pnao``, or ``pnao (pnao.rate=0.01)``."""
    shown = [f"{key}={value}" for key, value in changed.items() if key not in left_out]
    return f"{experiment} ({', '.join(shown)})" if shown else experiment


def other_settings(a: System, b: System) -> list[str] | None:
    """Settings in which two systems differ although their experiments do not: a difference may be theirs.

    None where the systems are alike in a setting that tells their experiments apart: what one asks of these
    experiments cannot be asked of them.
    """
    mine, theirs = settings_of(a.runs[0]), settings_of(b.runs[0])
    own, others = own_settings(a.experiment), own_settings(b.experiment)
    both = sorted(mine.keys() & theirs.keys())
    design = {key for key in both if own.get(key) != others.get(key)}
    if any(mine[key] == theirs[key] for key in design):
        return None
    return [f"{k}: {mine[k]} and {theirs[k]}" for k in both if mine[k] != theirs[k] and k not in design]
