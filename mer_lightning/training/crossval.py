"""Cross-validation as a schedule of rounds: which fold trains which round, in which process.

A round on a fold needs nothing but the round before it in the run directory; of label revision, that
of all the folds. So a finished round is
never done again, a killed run continues where it stopped, and the folds go side by side. Where a fit has
several devices, they go one after another instead.
"""

from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from functools import cache
from multiprocessing.queues import SimpleQueue

import numpy as np
import torch
from numpy.typing import NDArray

from mer_lightning.config.schema import Config
from mer_lightning.data.corpus import Corpus
from mer_lightning.data.folds import read_folds
from mer_lightning.data.readers.registry import read_corpus
from mer_lightning.errors import UserError, one_line
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.pnao.layers import NodesError
from mer_lightning.training import workers as processes
from mer_lightning.training.cores import cores
from mer_lightning.training.devices import gpus, world
from mer_lightning.training.news import Listener, News, RoundDone
from mer_lightning.training.ranks import Assignment, announce, announced
from mer_lightning.training.rounds import train_round
from mer_lightning.training.signals import stop_if_asked


class FoldWorker:
    """A process of the cross-validation: the corpus, read once, and the rounds it is told to train."""

    def __init__(
        self, config: Config, run: RunDirectory, corpus: Corpus, folds: NDArray[np.int64], tell: Listener
    ) -> None:
        self.config, self.run, self.corpus, self.folds, self.tell = config, run, corpus, folds, tell
        torch.set_num_threads(config.trainer.threads)  # the same in every process, so are the results

    def train(self, fold: int, number: int) -> None:
        """Train round ``number`` on ``fold``, which has finished those before it."""
        config = self.config
        here = gpus(config.trainer.accelerator)
        device = fold % here if here else None
        try:
            train_round(config, self.run, self.corpus, self.folds, fold, device, self.tell)
        except (UserError, NodesError) as error:
            raise UserError(f"fold {fold}, round {number}: {error}") from error
        except Exception as error:
            if not (config.callbacks or config.plugins):
                raise
            raise UserError(
                f"fold {fold}, round {number}, with callbacks or plugins of yours: {type(error).__name__}: "
                f"{one_line(error)} (HYDRA_FULL_ERROR=1 shows where)"
            ) from error
        self.tell(RoundDone(fold, number))


def worker_count(config: Config, folds: int) -> int:
    """Fits side by side: as told, or one per GPU, or as many as the cores carry; one if it has it all."""
    if world(config.trainer) > 1:
        return 1
    if isinstance(config.folds.workers, int):
        return min(config.folds.workers, folds)
    places = gpus(config.trainer.accelerator) or cores() // config.trainer.threads
    return max(1, min(places, folds))


def cross_validate(
    config: Config, run: RunDirectory, corpus: Corpus, folds: NDArray[np.int64], tell: Listener
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
        _train_in_workers(config, run, first, workers, tell)
        return
    worker = FoldWorker(config, run, corpus, folds, tell)
    for number in range(last + 1):
        for fold in range(count):
            if number >= first[fold]:
                announce(Assignment(config, run, fold, number))
                worker.train(fold, number)


def follow() -> None:
    """On the ranks above 0: train along with rank 0 whatever it announces."""
    worker: FoldWorker | None = None
    for config, run, fold, number in announced():
        if worker is None or (worker.config, worker.run) != (config, run):
            worker = _worker_of(config, run, lambda news: None)
        worker.train(fold, number)


def _worker_of(config: Config, run: RunDirectory, tell: Listener) -> FoldWorker:
    """A worker in a process that has read nothing yet."""
    corpus = read_corpus(config.data)
    return FoldWorker(config, run, corpus, read_folds(run.folds, corpus), tell)


def _train_in_workers(
    config: Config, run: RunDirectory, first: dict[int, int], workers: int, tell: Listener
) -> None:
    """The same, several rounds at a time: a fold's next round is queued when it may begin."""
    context = processes.context()
    queue: SimpleQueue[News] = context.SimpleQueue()
    following, last = dict(first), config.last_round
    with processes.pool(workers, context, _start_worker, config, run, queue) as pool:
        running: dict[Future[None], int] = {}
        while min(following.values()) <= last:
            for fold in ready(following, last, config.revision.rounds) - {*running.values()}:
                running[pool.submit(_train, fold, following[fold])] = fold
            stop_if_asked()
            done, _ = wait(running, timeout=0.2, return_when=FIRST_COMPLETED)
            while not queue.empty():
                tell(queue.get())
            for future in done:
                future.result()
                following[running.pop(future)] += 1
        while not queue.empty():
            tell(queue.get())


def ready(following: dict[int, int], last: int, revised: int) -> set[int]:
    """The folds whose ``following`` round may begin; one of label revision waits for the others' last one."""
    least = min(following.values())
    return {f for f, number in following.items() if number <= last and not least < number <= revised}


_worker: Callable[[], FoldWorker]  # of this worker process


def _start_worker(config: Config, run: RunDirectory, queue: "SimpleQueue[News]") -> None:
    """The first job reads the data: what a job raises reaches the parent, what this raises does not."""
    global _worker
    _worker = cache(lambda: _worker_of(config, run, queue.put))


def _train(fold: int, number: int) -> None:
    _worker().train(fold, number)
