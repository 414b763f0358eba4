"""Several processes on one fit: rank 0 coordinates, the ranks above it train along.

Rank 0 alone works in the run directory, shows how it goes, and decides which round comes next. It announces
each round, and the others wait for that: whatever it wrote before, they can read.
"""

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from subprocess import Popen
from typing import NamedTuple

import torch.distributed as dist
from lightning import Fabric

from mer_lightning.config.groups import TrainerConfig
from mer_lightning.config.schema import Config
from mer_lightning.errors import UserError
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.training.devices import everywhere, quieten_lightning, world
from mer_lightning.training.signals import leave_stopping_to_another

LONG = timedelta(days=30)  # the others wait while rank 0 reads data or writes the report
GRACE = 3.0  # seconds


class Assignment(NamedTuple):
    """A round to train, all ranks together."""

    config: Config
    run: RunDirectory
    fold: int
    number: int


_channel: dist.ProcessGroup | None = None  # for announcements; on the CPU, because NCCL does not wait long


def rank() -> int:
    """This process's rank; 0 where it is alone."""
    return dist.get_rank() if _connected() else 0


def _connected() -> bool:
    return dist.is_available() and dist.is_initialized()


@contextmanager
def together(trainer: TrainerConfig) -> Iterator[int]:
    """In the block all processes of the run are there and connected; it is given this one's rank.

    The first process starts the others of its machine, unless somebody has (``devices.cluster``). When
    rank 0 leaves the block, ``announced`` ends on the others.
    """
    global _channel
    if world(trainer) == 1:
        yield 0
        return
    quieten_lightning()
    fabric = Fabric(**everywhere(trainer), strategy="ddp")
    try:
        fabric.launch()
        _channel = dist.new_group(backend="gloo", timeout=LONG)
        with _following() if rank() else nullcontext():
            yield rank()
        if rank() == 0:
            announce(None)
        dist.destroy_process_group()
        for process in _started_by(fabric):
            process.wait()
    except RuntimeError as error:  # what collectives raise where a rank is missing, among others
        time.sleep(1)  # until the missing one has ended
        if any(process.poll() for process in _started_by(fabric)):
            raise UserError(
                "another process of this run has failed, see above; the finished rounds are kept"
            ) from error
        raise
    finally:
        for process in _started_by(fabric):
            process.kill()  # they have nothing to save


def _started_by(fabric: Fabric) -> list[Popen[bytes]]:
    return getattr(fabric.strategy.launcher, "procs", [])


def announce(assignment: Assignment | None) -> None:
    """Rank 0 tells the others which round comes next, or with None that there is no more."""
    if _connected():
        dist.broadcast_object_list([assignment], src=0, group=_channel)


def announced() -> Iterator[Assignment]:
    """What rank 0 announces, on the other ranks. Ends the process where rank 0 has gone: it says why."""
    while True:
        news: list[Assignment | None] = [None]
        try:
            dist.broadcast_object_list(news, src=0, group=_channel)
        except RuntimeError:
            sys.exit(1)
        if news[0] is None:
            return
        yield news[0]


@contextmanager
def _following() -> Iterator[None]:
    """A rank above 0 ends when its parent does, and leaves errors that all ranks meet for rank 0 to tell."""
    leave_stopping_to_another()
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    try:
        yield
    except Exception:
        time.sleep(GRACE)  # if rank 0 met the same, it ends this process meanwhile
        raise


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.3)
    os._exit(1)
