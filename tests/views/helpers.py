"""A dashboard that only listens, and a reader of W&B's offline files."""

import json
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import DecodeError
from wandb.proto.wandb_internal_pb2 import HistoryRecord, Record

from mer_lightning.config.schema import Config
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.report.runs import FinishedRun
from mer_lightning.tasks import fit
from mer_lightning.training.crossval import FoldWorker
from mer_lightning.views import tracking
from mer_lightning.views.scalars import LoggedRow
from mer_lightning.views.tracker import Memory

BLOCK, FULL, LAST = 32768, 1, 4  # bytes; kinds of pieces that end a record


class Listener:
    """A sink that keeps what it is told; ``breaks_at`` is the number of a row that it chokes on."""

    def __init__(self, breaks_at: int | None = None) -> None:
        self.rows: dict[int, LoggedRow] = {}
        self.opened: list[str] = []
        self.finished: list[FinishedRun] = []
        self.closed: list[bool] = []
        self.breaks_at = breaks_at

    def open(self, memory: Memory) -> "Listener":
        self.opened.append(memory.id)
        return self

    def log(self, number: int, row: LoggedRow) -> None:
        if number == self.breaks_at:
            raise ConnectionError("the server is gone")
        assert number not in self.rows
        self.rows[number] = row

    def flush(self) -> None:
        pass

    def results(self, run: FinishedRun, number: int) -> None:
        assert number not in self.rows
        self.finished.append(run)

    def close(self, failed: bool) -> None:
        self.closed.append(failed)


def listen(monkeypatch: pytest.MonkeyPatch, listener: Listener) -> Listener:
    """Let it be the dashboard that any ``logger=...`` opens."""
    monkeypatch.setattr(tracking, "opener", lambda config, run, name: listener.open)
    return listener


def trained(config: Config, path: Path) -> RunDirectory:
    run = RunDirectory(path)
    fit.run(config, run)
    return run


def interrupted(config: Config, path: Path, fold: int, number: int) -> None:
    """Train until Ctrl-C comes at the beginning of a round."""
    train = FoldWorker.train

    def until(self: FoldWorker, f: int, r: int) -> None:
        if (f, r) == (fold, number):
            raise KeyboardInterrupt
        train(self, f, r)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FoldWorker, "train", until)
        with pytest.raises(KeyboardInterrupt):
            fit.run(config, RunDirectory(path))


def offline_files(run: RunDirectory) -> list[Path]:
    """W&B's record of each of a run's processes, in the order of their beginning, which names the folders."""
    return sorted(run.path.glob("wandb/offline-run-*/run-*.wandb"))


def closed_records(file: Path) -> list[Record]:
    """The records of a file once W&B's service, a process of its own, has written the last of them."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with suppress(struct.error, DecodeError):  # half a record
            found = list(records(file))
            if any(record.HasField("exit") for record in found):
                return found
        time.sleep(0.05)
    raise TimeoutError(f"{file} has no end")


def records(file: Path) -> Iterator[Record]:
    """The records of a ``.wandb`` file: a log in LevelDB's format of W&B's protobuf messages."""
    content, at, parts = file.read_bytes(), 7, b""
    assert content[:4] == b":W&B"
    while at < len(content):
        if BLOCK - at % BLOCK < 7:  # no piece begins in a block's last bytes
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = struct.unpack_from("<IHB", content, at)
        parts += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (FULL, LAST):
            yield Record.FromString(parts)
            parts = b""


def values(history: HistoryRecord) -> dict[str, Any]:
    """A logged row by key, W&B's own keys left out; of a table or an image a dictionary."""
    row: dict[str, Any] = {}
    for item in history.item:
        key, *inside = item.nested_key or [item.key]
        if inside:
            row.setdefault(key, {})[inside[0]] = json.loads(item.value_json)
        elif not key.startswith("_"):
            row[key] = json.loads(item.value_json)
    return {key: value for key, value in row.items() if not key.startswith("_")}
