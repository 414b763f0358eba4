"""Folds side by side: what a second worker brings, and the whole against the public baseline's way."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from experiments.bench.loops import PEER, Loop
from experiments.bench.measure import Figure, Scale, Side, interleaved, medians, ratio, threads, timed
from experiments.bench.setting import corpus, fold_data, new_module, settings
from experiments.bench.training import PEER_BATCH
from mer_lightning.config.schema import Config
from mer_lightning.data.folds import draw_folds, write_folds
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.training.cores import cores
from mer_lightning.training.crossval import cross_validate
from mer_lightning.training.news import Epoch, News

FOLDS = {True: 4, False: 2}  # of the complete benchmark, of the quick one: as many for each of two workers


class EpochTimes:
    """Listens to a cross-validation: when each epoch ended, by the wall clock."""

    def __init__(self) -> None:
        self.stamps: list[float] = []

    def __call__(self, news: News) -> None:
        """Stamp an epoch's end; a round's end has nothing to add."""
        if isinstance(news, Epoch):
            self.stamps.append(time.perf_counter())


def seconds_per_epoch(config: Config) -> Side:
    """A side: seconds of the wall clock for an epoch of any fold, rounds and their files included.

    The workers' start is left out: a run of the main job has 1,650 epochs, and starts them once. The
    first epoch of every worker is, too, so the figure errs on the slow side.
    """

    def side() -> float:
        data, watcher = corpus(config.data.size), EpochTimes()
        folds = draw_folds(data, config.data.folds, config.seed)
        with tempfile.TemporaryDirectory() as folder:
            run = RunDirectory(Path(folder) / "run")
            write_folds(run.folds, data, folds)
            cross_validate(config, run, data, folds, watcher)
        counted = len(watcher.stamps) - int(config.folds.workers)
        return (watcher.stamps[-1] - watcher.stamps[0]) / counted

    return side


def job(scale: Scale, workers: int, *overrides: str) -> Config:
    """A short job of two rounds."""
    return settings(
        f"data.size={scale.size}",
        f"data.folds={FOLDS[scale.complete]}",
        "pnao.rounds=1",
        f"trainer.epochs={scale.epochs + 1}",
        f"folds.workers={workers}",
        *overrides,
    )


def fold_parallel_speedup(scale: Scale) -> list[Figure]:
    """Epochs per second with two worker processes over one, as ``folds.workers`` gives them."""
    times = interleaved(
        {str(workers): seconds_per_epoch(job(scale, workers)) for workers in (1, 2)},
        scale.few,
        warmup=0,
    )
    details = {"seconds per epoch, by workers": medians(times), "folds": FOLDS[scale.complete]}
    speedup = ratio(times["1"], times["2"])
    return [Figure("fold_parallel_speedup", speedup, 1.8, higher=True, details=details)]


def peer_over_ours_folds(scale: Scale) -> list[Figure]:
    """The baseline's way, one fold after another with all cores, against two workers; time for an epoch."""
    name = "peer_over_ours_folds"
    if not scale.complete:
        return [Figure(name, None, 3.5, higher=True, skipped="only without --quick")]
    config = job(scale, 2, f"trainer.batch_size={PEER_BATCH}")
    data = fold_data(config)
    peer = Loop(config, new_module(config, data), data, PEER)
    times = interleaved(
        {"peer": _with_all_cores(peer.epoch), "ours": seconds_per_epoch(config)},
        scale.few,
        warmup=0,
    )
    details = {"seconds per epoch": medians(times), "batch": PEER_BATCH}
    return [Figure(name, ratio(times["peer"], times["ours"]), 3.5, higher=True, details=details)]


def _with_all_cores(work: Callable[[], None]) -> Side:
    def side() -> float:
        with threads(cores()):
            work()  # the first one after a change of threads is slow
            return timed(work, clock=time.perf_counter)()

    return side
