"""A sweep's settings side by side: a table for the terminal, ``sweep.csv`` and ``sweep.png``."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE
from rich.table import Table

from mer_lightning.config.identity import flat
from mer_lightning.files.recorded import Results
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.report.figures.style import png
from mer_lightning.report.figures.sweep import Swept, sweep_figure
from mer_lightning.report.runs import TRAIN_VAL, part_scores, run_folders
from mer_lightning.report.statistics import MEASURES, over_seeds
from mer_lightning.report.systems import goes_with
from mer_lightning.report.table import cell

EXPERIMENT, SEED = "experiment_name", "seed"
NAMES = (EXPERIMENT, "data.features")  # keys whose values stand for those of others
SEVERAL = 7  # lines in the picture, at most


@dataclass(frozen=True)
class Setting:
    """A finished setting: its values of the keys that the sweep varies, and its results."""

    name: str  # its folder, below the sweep's
    values: dict[str, Any]
    results: Results

    @property
    def scores(self) -> dict[tuple[str, str], float]:
        """(part, measure) -> score of the chosen round, where the labels give one."""
        parts = [TRAIN_VAL, *self.results.test]
        found = {(part, m): part_scores(self.results, part)[m] for part in parts for m in MEASURES}
        return {key: value for key, value in found.items() if value is not None}

    def but_seed(self) -> tuple[str, ...]:
        """What it shares with the same setting's other seeds."""
        return tuple(text(value) for key, value in self.values.items() if key != SEED)


def read_settings(folder: Path) -> list[Setting]:
    """All finished settings below a folder, in the order of their values."""
    runs = [run for path in run_folders(folder) if (run := RunDirectory(path)).config.is_file()]
    configs = [flat(run.read_config()) for run in runs]
    keys = varying(configs)
    settings = [
        Setting(str(run.path.relative_to(folder)), {k: config.get(k) for k in keys}, run.read_results())
        for run, config in zip(runs, configs, strict=True)
    ]
    return sorted(settings, key=lambda s: [order(value) for value in s.values.values()])


def varying(configs: Sequence[dict[str, Any]]) -> list[str]:
    """The keys that have several values, the seed last; not those that only go with a name, see ``NAMES``."""
    keys = list(dict.fromkeys(key for config in configs for key in config))
    values = {key: [text(c.get(key)) for c in configs] for key in keys}
    found = [key for key in keys if len(set(values[key])) > 1]
    names = [key for key in NAMES if key in found]
    own = [k for k in found if k in names or not any(goes_with(values[k], values[name]) for name in names)]
    return sorted(own, key=lambda key: (key == SEED, key != EXPERIMENT))


def text(value: Any) -> str:
    """A value as a table shows it."""
    return value if isinstance(value, str) else json.dumps(value)


def order(value: Any) -> tuple[bool, float, str]:
    """Numbers by size, then the rest by the alphabet."""
    return (False, float(value), "") if is_number(value) else (True, 0.0, text(value))


def is_number(value: Any) -> bool:
    """Whether it can stand on an axis."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def swept_keys(settings: Sequence[Setting]) -> list[str]:
    """What the sweep varies besides the seed."""
    return [key for key in settings[0].values if key != SEED]


def columns(settings: Sequence[Setting]) -> list[tuple[str, str]]:
    """The (part, measure) that any setting has a score for."""
    return list(dict.fromkeys(key for s in settings for key in s.scores))


def by_seed(settings: Sequence[Setting]) -> dict[tuple[str, ...], list[Setting]]:
    """The settings that differ in their seeds alone."""
    groups: dict[tuple[str, ...], list[Setting]] = {}
    for setting in settings:
        groups.setdefault(setting.but_seed(), []).append(setting)
    return groups


def sweep_table(settings: Sequence[Setting], title: str) -> Table:
    """A row per setting, each a mean over its seeds with half its 95 % interval."""
    if is_synthetic(settings):
        title += " (synthetic data)"
    table = Table(title=title, title_justify="left", box=SIMPLE, padding=(0, 1), pad_edge=False)
    for key in swept_keys(settings):
        table.add_column(key.replace("[", "\\["), no_wrap=True)
    names = [m.title() if part == TRAIN_VAL else f"{part} {m.title()}" for part, m in columns(settings)]
    for name in (*(["seeds"] if SEED in settings[0].values else []), "round", *names, "parameters", "left"):
        table.add_column(name.replace("[", "\\["), justify="right", no_wrap=True)
    for values, group in by_seed(settings).items():
        cells = [
            *values,
            *([str(len(group))] if SEED in group[0].values else []),
            *mean_cells(group, settings),
        ]
        table.add_row(*(c.replace("[", "\\[") for c in cells))
    return table


def mean_cells(group: Sequence[Setting], settings: Sequence[Setting]) -> list[str]:
    """The chosen rounds, the mean scores, and what is left of the parameters."""
    rounds = ", ".join(map(str, sorted({s.results.best_round for s in group})))
    known = [[s.scores[c] for s in group if c in s.scores] for c in columns(settings)]
    scores = [cell(over_seeds(values) if values else None) for values in known]
    parameters = float(np.mean([s.results.best.parameters for s in group]))
    left = float(np.mean([s.results.best.parameters_ratio for s in group]))
    return [rounds, *scores, f"{parameters:,.0f}", f"{left:.1%}"]


def sweep_csv(settings: Sequence[Setting]) -> str:
    """A row per setting and seed."""
    cost = ("parameters", "parameters_ratio")
    names = [f"{'validation' if p == TRAIN_VAL else f'test_{p}'}_{m}" for p, m in columns(settings)]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["setting", *settings[0].values, "best_round", *names, *cost, "seconds"])
    for s in settings:
        scores = [s.scores.get(column, "") for column in columns(settings)]
        values = [text(value) for value in s.values.values()]
        costs = [getattr(s.results.best, key) for key in cost]
        writer.writerow([s.name, *values, s.results.best_round, *scores, *costs, s.results.seconds])
    return out.getvalue()


def sweep_picture(settings: Sequence[Setting]) -> bytes:
    """PNG: the score on validation and on the first test set, and the size, against the swept number."""
    caption = "Rings: one run each, of its chosen round. Lines and dashes: their means."
    if is_synthetic(settings):
        caption = f"SYNTHETIC data. {caption}"
    key = swept_number(settings)
    if key is None:
        return png(sweep_figure(*categories(settings), caption))
    groups: dict[str, list[Setting]] = {}
    for s in settings:
        groups.setdefault(", ".join(f"{k}={text(v)}" for k, v in others(s, key).items()), []).append(s)
    if len(groups) > SEVERAL:  # a search: every setting is of its own
        groups = {"": list(settings)}
    shown = panels(settings)
    series = [line(label, [s.values[key] for s in own], own, shown) for label, own in groups.items()]
    return png(sweep_figure(series, key, None, caption))


def is_synthetic(settings: Sequence[Setting]) -> bool:
    """Whether any of the data are made up."""
    return any(s.results.data.synthetic for s in settings)


def swept_number(settings: Sequence[Setting]) -> str | None:
    """The key whose values stand on the axis: of the numbers the one with the most values."""
    numbers = [k for k in swept_keys(settings) if all(is_number(s.values[k]) for s in settings)]
    return max(numbers, key=lambda k: len({s.values[k] for s in settings}), default=None)


def categories(settings: Sequence[Setting]) -> tuple[list[Swept], str, dict[float, str]]:
    """Settings without a number to go by: side by side, the axis' name, and theirs."""
    labels = [", ".join(s.but_seed()) for s in settings]
    places = {label: float(place) for place, label in enumerate(dict.fromkeys(labels))}
    series = line("", [places[label] for label in labels], settings, panels(settings))
    return [series], ", ".join(swept_keys(settings)), {place: label for label, place in places.items()}


def others(setting: Setting, key: str) -> dict[str, Any]:
    """What is varied besides ``key`` and the seed."""
    return {k: v for k, v in setting.values.items() if k not in (key, SEED)}


def panels(settings: Sequence[Setting]) -> dict[str, tuple[str, str]]:
    """Title -> (part, measure): validation and the first test set, by Com or else Dis; what all have."""
    shared = [c for c in columns(settings) if all(c in s.scores for s in settings)]
    parts = list(dict.fromkeys(part for part, _ in shared))[:2]
    chosen = [(part, "com" if (part, "com") in shared else "dis") for part in parts]
    return {f"{m.title()} on {'validation' if p == TRAIN_VAL else p}": (p, m) for p, m in chosen}


def line(
    label: str, x: Sequence[float], group: Sequence[Setting], shown: dict[str, tuple[str, str]]
) -> Swept:
    """One line of the picture."""
    values = {title: np.array([s.scores[column] for s in group]) for title, column in shown.items()}
    values["Parameters"] = np.array([s.results.best.parameters for s in group], dtype=np.float64)
    return Swept(label, np.array(x, dtype=np.float64), values)
