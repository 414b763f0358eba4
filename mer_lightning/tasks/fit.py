"""``task=fit``: the experiment, cross-validated, into the run directory."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray

from mer_lightning.config.identity import flat, identity, recorded
from mer_lightning.config.job import in_a_sweep, sweep_folder
from mer_lightning.config.schema import Config
from mer_lightning.data.corpus import TRAIN_SPLITS, Corpus
from mer_lightning.data.folds import check_folds, check_groups, draw_folds, read_folds, write_folds
from mer_lightning.data.readers.registry import read_corpus
from mer_lightning.data.standardise import clipped_columns, fit_standardisation
from mer_lightning.errors import UserError
from mer_lightning.files.atomic import write_text
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.files.strict_json import as_json
from mer_lightning.report.report import write_run_report
from mer_lightning.results.priors import check_named
from mer_lightning.results.results import write_results
from mer_lightning.tasks.combine import check_same_data, combine, given_runs, members
from mer_lightning.training.callbacks import make_callbacks
from mer_lightning.training.crossval import cross_validate, follow
from mer_lightning.training.devices import check_devices
from mer_lightning.training.ranks import together
from mer_lightning.training.revision import check_unlabelled, flattered
from mer_lightning.training.shared import take_round_0
from mer_lightning.training.signals import interruptible
from mer_lightning.views.rounds import Rounds
from mer_lightning.views.terminal import Display, show_results
from mer_lightning.views.tracking import Trackers, tracking

DATA_PLACES = ("data.root", "data.labels")  # what is there is told by data.json, better than by a path


def run(config: Config, directory: RunDirectory) -> None:
    """The experiment; of the processes that share a fit, rank 0 does it and the others train along."""
    check_devices(config)
    with together(config.trainer) as rank:
        if rank == 0:
            complete(config, directory)
        else:
            follow()


def complete(config: Config, directory: RunDirectory) -> None:
    """Train what is not trained yet, then write the results. A finished run is only shown again."""
    with directory.locked():
        directory.refuse_foreign()
        directory.sweep_up()
        refuse_another_run(config, directory)
        try:
            with tracking(config, directory) as trackers:
                if not directory.finished:
                    (train if config.combine.of == "none" else combine_systems)(config, directory, trackers)
                if not directory.report.is_file():
                    write_run_report(directory)
                trackers.results()
        finally:
            directory.sweep_up()  # what a worker was writing when another's error stopped it
    show_results(directory)


def train(config: Config, directory: RunDirectory, trackers: Trackers) -> None:
    """From the data to results.json."""
    corpus = read_corpus(config.data)
    config.check_levels(len(corpus.levels))
    check_accelerator(config)
    check_named(config.priors, corpus.classes)
    check_unlabelled(config.revision, corpus)
    if config.pnao.like is not None:  # of a control: no other has one
        check_reference(config, RunDirectory(Path(config.pnao.like)), corpus)
    folds = saved_or_drawn_folds(config, directory, corpus)
    warnings = [*corpus.notes, *check_folds(corpus, folds, config.protocol, config.trainer.monitor)]
    warnings += check_groups(corpus, folds, config.data, config.protocol)
    warnings += clipped(config, corpus)
    warnings += flattered(vars(config.revision), config.protocol)
    make_callbacks(config.callbacks)  # one that cannot be made is known before anything is trained
    begin(config, directory, corpus)
    warnings += directory.unmark_damage()
    trackers.start()
    write_folds(directory.folds, corpus, folds)
    config = with_reference(config, directory, corpus)
    warnings += take_round_0(config, directory, corpus, folds, may_be_alike(config))
    count = int(folds.max()) + 1
    with Display(config, directory, corpus, count, warnings) as display, interruptible():
        rounds = Rounds(config, directory, corpus, count, [display, *trackers])
        cross_validate(config, directory, corpus, folds, rounds)
    write_results(config, directory, corpus, rounds.summaries)


def may_be_alike(config: Config) -> list[RunDirectory]:
    """The runs that may have begun as this one: a control's PNAO run, and the settings of a sweep."""
    settings = sorted(sweep_folder().iterdir()) if in_a_sweep() else []
    places = [*([Path(config.pnao.like)] if config.pnao.like else []), *settings]
    return [run for path in places if (run := RunDirectory(path)).config.is_file()]


def clipped(config: Config, corpus: Corpus) -> list[str]:
    """What ``data.clip`` does to the features, by the statistics of all that is trained on.

    Sets that are memory-mapped are left out: to look at them takes as long as to read them.
    """
    here = {name: x for name, x in corpus.features.items() if not isinstance(x, np.memmap)}
    if config.data.clip is None or not here:
        return []
    statistics = fit_standardisation(here, corpus.rows(TRAIN_SPLITS), config.data.clip)
    return list(filter(None, [clipped_columns(here, statistics)]))


def combine_systems(config: Config, directory: RunDirectory, trackers: Trackers) -> None:
    """Train the systems that ``combine`` names, or take the finished ones, and combine them."""
    corpus = read_corpus(config.data)
    runs = given_runs(config, corpus)
    begin(config, directory, corpus)
    trackers.start()
    if not runs:
        for name, member in members(config, corpus).items():
            runs.append(finished_beside(member, directory, corpus) or RunDirectory(directory.members / name))
            complete(member, runs[-1])
    combine(config, directory, corpus, runs)


def begin(config: Config, directory: RunDirectory, corpus: Corpus) -> None:
    """Save what the run is, or see that its data are still those it began with."""
    if not directory.config.is_file():  # first, because it marks the folder as a run's
        write_text(directory.config, yaml.safe_dump(recorded(config), sort_keys=False, allow_unicode=True))
    if directory.data.is_file():
        check_same_data(directory, corpus)
    else:
        write_text(directory.data, as_json(corpus.fingerprint))


def check_accelerator(config: Config) -> None:
    """A UserError where a GPU is asked for and there is none."""
    if config.trainer.accelerator == "gpu" and not torch.cuda.is_available():
        raise UserError("trainer.accelerator=gpu: no GPU of CUDA here; take trainer.accelerator=auto or cpu")


def refuse_another_run(config: Config, directory: RunDirectory) -> None:
    """A UserError where the directory holds a run with other settings, or a finished one on other data."""
    if not directory.config.is_file():
        return
    saved, mine = directory.read_config(), recorded(config)
    if different := differences(saved, mine):
        raise UserError(
            f"{directory.path} holds a run with another configuration ({different[0]}); continue it with "
            "its own settings, or choose another hydra.run.dir"
        )
    if directory.finished and data_places(saved) != data_places(mine):
        check_same_data(directory, read_corpus(config.data))


def differences(saved: dict[str, Any], mine: dict[str, Any]) -> list[str]:
    """Sentences on the keys in which two configurations would give different results.

    Not on where the data are: whether they are the same is for ``check_same_data``.
    """
    there, now = flat(identity(saved)), flat(identity(mine))
    return [
        f"{key}: {there.get(key)} there, {now.get(key)} now"
        for key in sorted({*there, *now}.difference(DATA_PLACES))
        if there.get(key) != now.get(key)
    ]


def data_places(config: dict[str, Any]) -> list[str | None]:
    """Where the data are, as a configuration says."""
    return [flat(config).get(key) for key in DATA_PLACES]


def saved_or_drawn_folds(config: Config, directory: RunDirectory, corpus: Corpus) -> NDArray[np.int64]:
    """(n,) the folds of this run: those saved, or drawn now."""
    if directory.folds.is_file():
        return read_folds(directory.folds, corpus)
    return draw_folds(corpus, config.data.folds, config.seed, config.protocol)


def with_reference(config: Config, directory: RunDirectory, corpus: Corpus) -> Config:
    """A control needs the PNAO run whose sizes it matches: named by ``pnao.like``, beside it, or its own."""
    if config.pnao.control == "none" or config.pnao.like is not None:
        return config
    plain = replace(config, experiment_name="pnao", pnao=replace(config.pnao, control="none"))
    reference = finished_beside(plain, directory, corpus) or RunDirectory(directory.reference)
    complete(plain, reference)
    return replace(config, pnao=replace(config.pnao, like=str(reference.path)))


def finished_beside(config: Config, directory: RunDirectory, corpus: Corpus) -> RunDirectory | None:
    """A finished run of ``config`` in the same parent folder, as sweeps lay them out; or None."""
    for path in sorted(directory.path.parent.iterdir()):
        run = RunDirectory(path)
        try:
            if not (run.finished and run.config.is_file()):
                continue
            saved = run.read_config() | {"experiment_name": ""}
            if not differences(saved, recorded(config) | {"experiment_name": ""}):
                check_same_data(run, corpus)
                return run
        except (UserError, OSError):  # a neighbour that is damaged, another's, or of other data
            continue
    return None


def check_reference(config: Config, reference: RunDirectory, corpus: Corpus) -> None:
    """A control and its reference must differ in nothing but the way of pruning."""
    reference.read_results()
    ours = recorded(replace(config, pnao=replace(config.pnao, control="none", like=None), experiment_name=""))
    theirs = reference.read_config() | {"experiment_name": ""}
    if different := differences(theirs, ours):
        raise UserError(f"pnao.like={reference.path} is not the same experiment: {different[0]}")
    check_same_data(reference, corpus)
