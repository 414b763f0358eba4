"""Finished runs as arrays, read from their run directories."""

import csv
import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from mer_lightning.data.arrays import brief
from mer_lightning.data.corpus import TRAIN_SPLITS
from mer_lightning.errors import UserError
from mer_lightning.files.plain_yaml import read_yaml
from mer_lightning.files.recorded import checked_results
from mer_lightning.files.run_directory import RunDirectory

TRAIN_VAL = "Train&Val"  # the name of the part whose predictions are out of fold

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Strings = NDArray[np.str_]


@dataclass(frozen=True, eq=False)
class FinishedRun:
    """A run's figures and its predictions for N utterances, C emotions, M branches, in the corpus's order.

    All Train&Val predictions are out of fold; those of test sets are the mean over the folds' networks.
    """

    path: Path
    results: dict[str, Any]
    config: dict[str, Any]
    ids: Strings  # (N,)
    split: Strings  # (N,)
    fold: Ints  # (N,), -1: a test set
    group: Strings  # (N,), speaker or the like, "" where not known
    emotion: Ints  # (N,) true class, -1 where not known
    valence: Floats  # (N,) true, NaN where not known
    predicted: Ints  # (N,) class
    predicted_valence: Floats  # (N,)
    posterior: Floats  # (N, C)
    weights: Floats  # (N, M), how much each branch counted
    branches: list[str]  # M names
    features: dict[str, str]  # feature set -> hash of its values; empty where the run does not say

    @property
    def experiment(self) -> str:
        """The name of the system."""
        return str(self.results["experiment"])

    @property
    def seed(self) -> int:
        """The seed it was trained with."""
        return int(self.results["seed"])

    @property
    def classes(self) -> list[str]:
        """The C emotions."""
        return list(self.results["data"]["classes"])

    @property
    def parts(self) -> list[str]:
        """Train&Val, then the test sets."""
        return [TRAIN_VAL, *self.results["test"]]

    @property
    def combined(self) -> bool:
        """Whether it is several systems decided together: such a run has no rounds of its own."""
        return bool(self.config.get("combine", {}).get("of", "none") != "none")

    @property
    def transductive(self) -> bool:
        """Whether the test sets' features were learnt from."""
        return bool(self.config.get("revision", {}).get("rounds", 0))

    @property
    def truth(self) -> str:
        """A fingerprint of the utterances and their labels: equal for runs that may be compared."""
        parts = (self.ids, self.split, self.emotion, self.valence)
        return hashlib.sha256("\0".join(repr(part.tolist()) for part in parts).encode()).hexdigest()

    @property
    def best(self) -> dict[str, Any]:
        """The reported round's entry in ``rounds``."""
        chosen = self.results["best_round"]
        return next(dict(r) for r in self.results["rounds"] if r["round"] == chosen)

    def scores(self, part: str) -> dict[str, float | None]:
        """Dis, Dim and Com on a part, as the run reported them."""
        return part_scores(self.results, part)

    def rows(self, part: str) -> Ints:
        """Indices of a part's utterances."""
        wanted = TRAIN_SPLITS if part == TRAIN_VAL else (part,)
        return np.flatnonzero(np.isin(self.split, wanted))


def part_scores(entry: dict[str, Any], part: str) -> dict[str, float | None]:
    """Scores of ``results.json`` or of one of its rounds: Train&Val's, or a test set's."""
    return dict(entry["validation"] if part == TRAIN_VAL else entry["test"][part])


def find_runs(root: Path) -> list[FinishedRun]:
    """All finished runs below a directory, in the order of their paths.

    Raises UserError if there is none, or if one's files are broken.
    """
    if not root.is_dir():
        raise UserError(f"{root}: no such directory; report.runs=DIR names the folder that holds the runs")
    runs = [read_run(folder) for folder in run_folders(root)]
    if not runs:
        raise UserError(f"{root}: no finished run below it, none has a results.json; run an experiment first")
    return runs


def run_folders(folder: Path) -> Iterator[Path]:
    """Folders with a results.json. What lies inside a run, such as a control's reference, is part of it."""
    if RunDirectory(folder).finished:
        yield folder
        return
    inside_a_run = RunDirectory(folder).config.is_file()
    for child in sorted(folder.iterdir()):
        if child.is_dir() and not child.name.startswith(".") and not inside_a_run:
            yield from run_folders(child)


def read_run(folder: Path) -> FinishedRun:
    """One finished run. Raises UserError, naming the file, if something in it is missing or broken."""
    run = RunDirectory(folder)
    results = _read(run.results, lambda text: checked_results(json.loads(text)))
    config = _read(run.config, _settings)
    table = _read(run.predictions, lambda text: list(csv.DictReader(io.StringIO(text))))
    features = run.read_fingerprint()["features"] if run.data.is_file() else {}
    try:
        return _from_table(folder, results, config, table, features)
    except Exception as error:  # whatever a value of another kind than ours runs into
        raise UserError(
            f"{run.predictions}: broken, {type(error).__name__} {brief(error)}; delete results.json, rerun"
        ) from error


def _read(path: Path, parse: Any) -> Any:
    try:
        return parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}; restore it or remove the run") from error
    except (ValueError, TypeError, RecursionError, yaml.YAMLError) as error:
        raise UserError(f"{path}: broken ({brief(error)}); restore it or remove the run") from error


def _settings(text: str) -> dict[str, Any]:
    """A saved configuration, of which the groups are groups."""
    config = dict(read_yaml(text))
    for group in ("combine", "revision"):
        if not isinstance(config.get(group, {}), dict):
            raise ValueError(f"{group} is no group")
    if not isinstance(config.get("ensemble"), str):
        raise ValueError("it does not say ensemble")
    return config


def _from_table(
    folder: Path,
    results: dict[str, Any],
    config: dict[str, Any],
    table: list[dict[str, str]],
    features: dict[str, str],
) -> FinishedRun:
    expected = sum(results["data"]["n"].values())
    if not table or len(table) != expected:
        raise ValueError(f"{len(table)} rows, results.json says {expected}")
    classes = results["data"]["classes"]
    branches = [name.removeprefix("weight_") for name in table[0] if name.startswith("weight_")]
    index = {name: i for i, name in enumerate(classes)} | {"": -1}

    def floats(names: list[str]) -> Floats:
        return np.array([[float(row[name] or "nan") for name in names] for row in table])

    return FinishedRun(
        path=folder,
        results=results,
        config=config,
        ids=np.array([row["utterance_id"] for row in table]),
        split=np.array([row["split"] for row in table]),
        fold=np.array([int(row["fold"] or -1) for row in table]),
        group=np.array([row.get("group") or "" for row in table]),
        emotion=np.array([index[row["emotion"]] for row in table]),
        valence=floats(["valence"])[:, 0],
        predicted=np.array([index[row["predicted_emotion"]] for row in table]),
        predicted_valence=floats(["predicted_valence"])[:, 0],
        posterior=floats([f"posterior_{name}" for name in classes]),
        weights=floats([f"weight_{name}" for name in branches]),
        branches=branches,
        features=features,
    )
