"""Cross-validation as a schedule of rounds: which fold trains which round, in which process.

A round on a fold needs nothing but the round before it in the run directory. So a finished round is
never done again, a killed run continues where it stopped, and the folds go side by side. Where a fit has
several devices, they go one after another instead.
"""

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.context import SpawnContext
from multiprocessing.queues import SimpleQueue
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from mer_lightning.config.schema import Config
from mer_lightning.data.corpus import Corpus
from mer_lightning.data.folds import read_folds
from mer_lightning.data.readers.registry import read_corpus
from mer_lightning.errors import UserError
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.training.cores import cores
from mer_lightning.training.devices import gpus, world
from mer_lightning.training.ranks import Assignment, announce, announced
from mer_lightning.training.rounds import train_round
from mer_lightning.training.signals import leave_stopping_to_another, stop_if_asked


class Epoch(NamedTuple):
    """News from a fit: so many epochs done, the last with this validation score."""

    fold: int
    round: int
    epoch: int
    score: float


class Watcher(Protocol):
    """Who wants to know how it goes."""

    def epoch(self, news: Epoch) -> None:
        """An epoch ended."""

    def round_done(self, fold: int, number: int) -> None:
        """A fold finished a round; its folder is there."""


class Bench:
    """One process's place of work: the corpus, read once, and the rounds it is told to train."""

    def __init__(
        self, config: Config, run: RunDirectory, corpus: Corpus, folds: NDArray[np.int64],
        tell: Callable[[Epoch], None],
    ) -> None:  # fmt: skip
        self.config, self.run, self.corpus, self.folds, self.tell = config, run, corpus, folds, tell
        torch.set_num_threads(config.trainer.threads)  # the same in every process, so are the results

    def train(self, fold: int, number: int) -> None:
        """Round ``number`` on ``fold``."""
        config = self.config
        here = gpus(config.trainer.accelerator)
        device = fold % here if here else None

        def report(epoch: int, score: float) -> None:
            stop_if_asked()
            self.tell(Epoch(fold, number, epoch, score))

        try:
            train_round(config, self.run, self.corpus, self.folds, fold, device, report)
        except UserError as error:
            raise UserError(f"fold {fold}, round {number}: {error}") from error


def worker_count(config: Config, folds: int) -> int:
    """Fits side by side: as told, or one per GPU, or as many as the cores carry; one if it has it all."""
    if world(config.trainer) > 1:
        return 1
    if isinstance(config.folds.workers, int):
        return min(config.folds.workers, folds)
    places = gpus(config.trainer.accelerator) or cores() // config.trainer.threads
    return max(1, min(places, folds))


def cross_validate(
    config: Config, run: RunDirectory, corpus: Corpus, folds: NDArray[np.int64], watcher: Watcher
) -> None:
    """Train every round on every fold that the run directory does not hold yet."""
    count = int(folds.max()) + 1
    last = config.last_round
    first = {
        f: next((r for r in range(last + 1) if not run.round(f, r).done), last + 1) for f in range(count)
    }
    todo = sum(last + 1 - number for number in first.values())
    workers = min(worker_count(config, count), todo)
    if workers > 1:
        _train_in_workers(config, run, first, workers, watcher)
        return
    bench = Bench(config, run, corpus, folds, watcher.epoch)
    for number in range(last + 1):
        for fold in range(count):
            if number >= first[fold]:
                announce(Assignment(config, run, fold, number))
                bench.train(fold, number)
                watcher.round_done(fold, number)


def follow() -> None:
    """On the ranks above 0: train along with rank 0 whatever it announces."""
    bench: Bench | None = None
    for config, run, fold, number in announced():
        if bench is None or (bench.config, bench.run) != (config, run):
            corpus = read_corpus(config.data)
            bench = Bench(config, run, corpus, read_folds(run.folds, corpus), lambda news: None)
        bench.train(fold, number)


def _train_in_workers(
    config: Config, run: RunDirectory, first: dict[int, int], workers: int, watcher: Watcher
) -> None:
    """The same, several rounds at a time: a fold's next round is queued when its last one is done."""
    context = multiprocessing.get_context("spawn")
    news: SimpleQueue[Epoch] = context.SimpleQueue()
    last = config.last_round
    with _pool(context, workers, config, run, news) as pool:
        running: dict[Future[None], tuple[int, int]] = {
            pool.submit(_train, fold, number): (fold, number)
            for fold, number in first.items()
            if number <= last
        }
        while running:
            stop_if_asked()
            done, _ = wait(running, timeout=0.2, return_when=FIRST_COMPLETED)
            while not news.empty():
                watcher.epoch(news.get())
            for future in done:
                fold, number = running.pop(future)
                future.result()
                watcher.round_done(fold, number)
                if number < last:
                    running[pool.submit(_train, fold, number + 1)] = (fold, number + 1)


@contextmanager
def _pool(
    context: SpawnContext, workers: int, config: Config, run: RunDirectory, news: "SimpleQueue[Epoch]"
) -> Iterator[ProcessPoolExecutor]:
    """A pool whose processes end with the block, however it ends."""
    pool = ProcessPoolExecutor(workers, context, _start_worker, (config, run, news))
    try:
        yield pool
    except BrokenProcessPool as error:
        raise UserError(
            "a worker process was killed, by the system for want of memory perhaps: the finished rounds "
            "are kept; continue with fewer folds.workers"
        ) from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in multiprocessing.active_children():
            process.kill()  # they ignore a mere SIGTERM; unfinished rounds have no name yet
            process.join()


_bench: Bench  # of this worker process


def _start_worker(config: Config, run: RunDirectory, news: "SimpleQueue[Epoch]") -> None:
    """Read the data, and end when the parent does: Ctrl-C is the parent's to handle."""
    global _bench
    leave_stopping_to_another()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    corpus = read_corpus(config.data)
    _bench = Bench(config, run, corpus, read_folds(run.folds, corpus), news.put)


def _end_with_parent() -> None:
    """A killed parent must not leave workers behind that write into the run directory."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _train(fold: int, number: int) -> None:
    _bench.train(fold, number)
