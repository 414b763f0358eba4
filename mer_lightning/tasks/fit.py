"""``task=fit``: the experiment, cross-validated, into the run directory."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from mer_lightning.analysis.report import write_run_report
from mer_lightning.config import Config
from mer_lightning.crossval import cross_validate
from mer_lightning.data.corpus import Corpus
from mer_lightning.data.folds import check_folds, draw_folds, read_folds, write_folds
from mer_lightning.data.readers import read_corpus
from mer_lightning.display import Display, show_results
from mer_lightning.errors import UserError
from mer_lightning.results import write_results
from mer_lightning.run_directory import RunDirectory, write_text
from mer_lightning.tasks.combine import combine, given_runs, members

NOT_PART_OF_RESULTS = ("folds", "output", "task", "report")  # may differ when a run is continued


def run(config: Config, directory: RunDirectory) -> None:
    """Train what is not trained yet, then write the results. A finished run is only shown again."""
    with directory.locked():
        refuse_another_configuration(config, directory)
        directory.sweep_up()
        if not directory.finished:
            (train if config.combine.of == "none" else combine_systems)(config, directory)
        if not directory.report.is_file():
            write_run_report(directory)
    show_results(directory)


def train(config: Config, directory: RunDirectory) -> None:
    """From the data to results.json."""
    corpus = read_corpus(config.data)
    config.check_levels(len(corpus.levels))
    folds = saved_folds(config, directory, corpus)
    warnings = check_folds(corpus, folds)
    save_config(config, directory)
    config = with_reference(config, directory)
    with Display(config, directory, corpus, int(folds.max()) + 1, warnings) as display:
        cross_validate(config, directory, corpus, folds, display)
    write_results(config, directory, corpus, display.summaries)


def combine_systems(config: Config, directory: RunDirectory) -> None:
    """Train the systems that ``combine`` names, or take the finished ones, and combine them."""
    runs = given_runs(config)
    if not runs:
        for name, member in members(config).items():
            runs.append(finished_beside(member, directory) or RunDirectory(directory.members / name))
            run(member, runs[-1])
    save_config(config, directory)
    combine(config, directory, runs)


def save_config(config: Config, directory: RunDirectory) -> None:
    """The resolved configuration, which also says what the run directory is for."""
    write_text(directory.config, yaml.safe_dump(asdict(config), sort_keys=False, allow_unicode=True))


def refuse_another_configuration(config: Config, directory: RunDirectory) -> None:
    """A UserError where the directory holds a run with other settings."""
    if directory.config.is_file() and (different := differences(read_config(directory), asdict(config))):
        raise UserError(
            f"{directory.path} holds a run with another configuration ({different[0]}); continue it with "
            "its own settings, or choose another hydra.run.dir"
        )


def read_config(directory: RunDirectory) -> dict[str, Any]:
    """The saved configuration of a run."""
    return dict(yaml.safe_load(directory.config.read_text(encoding="utf-8")))


def differences(saved: dict[str, Any], mine: dict[str, Any], prefix: str = "") -> list[str]:
    """Sentences on the keys in which two configurations would give different results."""
    found = []
    for key in sorted({*saved, *mine}):
        if prefix == "" and key in NOT_PART_OF_RESULTS:
            continue
        a, b = saved.get(key), mine.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            found += differences(a, b, f"{prefix}{key}.")
        elif a != b:
            found.append(f"{prefix}{key}: {a} there, {b} now")
    return found


def saved_folds(config: Config, directory: RunDirectory, corpus: Corpus) -> NDArray[np.int64]:
    """The folds of this run: those saved, or drawn now and saved."""
    if not directory.folds.is_file():
        write_folds(directory.folds, corpus, draw_folds(corpus, config.data.folds, config.seed))
    return read_folds(directory.folds, corpus)


def with_reference(config: Config, directory: RunDirectory) -> Config:
    """A control needs the PNAO run whose sizes it matches: named by ``pnao.like``, beside it, or its own."""
    if config.pnao.control == "none":
        return config
    if config.pnao.like is not None:
        check_reference(config, RunDirectory(Path(config.pnao.like)))
        return config
    plain = replace(config, experiment_name="pnao", pnao=replace(config.pnao, control="none"))
    reference = finished_beside(plain, directory) or RunDirectory(directory.reference)
    run(plain, reference)
    return replace(config, pnao=replace(config.pnao, like=str(reference.path)))


def finished_beside(config: Config, directory: RunDirectory) -> RunDirectory | None:
    """A finished run of ``config`` in the same parent folder, as sweeps lay them out; or None."""
    for path in sorted(directory.path.parent.iterdir()):
        run = RunDirectory(path)
        if run.finished and run.config.is_file():
            mine = asdict(config) | {"experiment_name": ""}
            if not differences(read_config(run) | {"experiment_name": ""}, mine):
                return run
    return None


def check_reference(config: Config, reference: RunDirectory) -> None:
    """A control and its reference must differ in nothing but the way of pruning."""
    reference.read_results()
    ours = asdict(replace(config, pnao=replace(config.pnao, control="none", like=None), experiment_name=""))
    theirs = read_config(reference) | {"experiment_name": ""}
    if different := differences(theirs, ours):
        raise UserError(f"pnao.like={reference.path} is not the same experiment: {different[0]}")
