"""The processes that folds go to: forked from a server that has imported everything once.

The server lives as long as this process. The jobs of a sweep share it, so that only the first one waits
for the imports of its workers.
"""

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.context import BaseContext
from typing import Any

from mer_lightning.errors import UserError
from mer_lightning.training.signals import leave_stopping_to_another

PRELOADED = "mer_lightning.training.preloaded"


def context() -> BaseContext:
    """How worker processes start: forked from the server, or spawned where there is none (Windows)."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload([PRELOADED])
    return found


def import_ahead() -> None:
    """Start the server now: it imports while this process does."""
    if context().get_start_method() == "forkserver":
        from multiprocessing import forkserver  # there is none on Windows

        forkserver.ensure_running()


@contextmanager
def pool(
    workers: int, context: BaseContext, begin: Callable[..., None], *arguments: Any
) -> Iterator[ProcessPoolExecutor]:
    """A pool whose processes end with the block, however it ends; each calls ``begin(*arguments)`` first."""
    executor = ProcessPoolExecutor(workers, context, _begin, (begin, *arguments))
    try:
        yield executor
    except BrokenProcessPool as error:
        raise UserError(
            "a worker process was killed (possibly out of memory): the finished rounds are kept; continue "
            "with fewer folds.workers"
        ) from error
    finally:
        executor.shutdown(wait=False, cancel_futures=True)
        for process in multiprocessing.active_children():
            process.kill()  # they ignore a mere SIGTERM; unfinished rounds have no name yet
            process.join()


def _begin(begin: Callable[..., None], *arguments: Any) -> None:
    """In a worker: end when the parent does. Ctrl-C is the parent's to handle."""
    leave_stopping_to_another()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    begin(*arguments)


def _end_with_parent() -> None:
    """A killed parent must not leave workers behind that write into the run directory."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
