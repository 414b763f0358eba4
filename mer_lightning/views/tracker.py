"""What every tracker does: tell a dashboard everything about a run, and each thing once."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Protocol

from rich.console import Console

from mer_lightning.errors import UserError
from mer_lightning.files.atomic import write_text
from mer_lightning.files.recorded import Round
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.files.strict_json import as_json, read_json
from mer_lightning.report.runs import FinishedRun, read_run
from mer_lightning.results.summary import RoundSummary
from mer_lightning.training.news import Epoch
from mer_lightning.training.outcome import RoundRecord, read_record
from mer_lightning.views.scalars import LoggedRow, epoch_row, round_row


@dataclass
class Memory:
    """What a dashboard was told already, kept in the run directory."""

    id: str = field(default_factory=lambda: secrets.token_hex(4))  # of the run, on the dashboard
    rows: int = 0  # so many, of all kinds
    there: str = ""  # what the dashboard itself calls the run
    epochs: dict[str, int] = field(default_factory=dict)  # told, by fold, counted over the rounds
    rounds: int = 0  # rounds told that all folds had finished
    finished: bool = False  # the results are told too


class Sink(Protocol):
    """A dashboard that is open. What it raises ends the tracking, not the run."""

    def log(self, number: int, row: LoggedRow) -> None:
        """A row of scalars, the ``number``-th of the run."""

    def flush(self) -> None:
        """What was logged is to survive this process."""

    def results(self, run: FinishedRun, number: int) -> None:
        """A finished run's best scores, confusion matrices, figures; ``number`` rows came before."""

    def close(self, failed: bool) -> None:
        """Send what is left."""


OpenSink = Callable[[Memory], Sink]


class Tracker:
    """A view that tells a dashboard what it was not told yet."""

    def __init__(self, run: RunDirectory, kind: str, open_sink: OpenSink) -> None:
        self.run, self.open_sink = run, open_sink
        self.file = run.tracker(kind)
        self.memory = read_memory(run, kind)
        self.sink: Sink | None = None
        self.lost = False  # the dashboard failed
        self.before: dict[tuple[int, int], int] = {}  # fold, round -> epochs of the fold's earlier rounds

    def start(self) -> None:
        """Open the dashboard, unless it knows everything. UserError if it refuses."""
        if self.sink is None and not self.lost and not self.memory.finished:
            with self._forgiving():
                self.sink = self.open_sink(self.memory)
                self._remember()

    def epoch(self, news: Epoch) -> None:
        """Log an epoch that has just ended."""
        before = self._epochs_before(news.fold, news.round)
        self._epochs(news.fold, [epoch_row(news.fold, before + news.epoch, news.values)])

    def fold_done(self, record: RoundRecord) -> None:
        """Log those of the round's epochs that were not seen."""
        before = self._epochs_before(record.fold, record.round)
        told = [epoch_row(record.fold, before + i, values) for i, values in enumerate(record.history, 1)]
        self._epochs(record.fold, told)

    def _epochs_before(self, fold: int, number: int) -> int:
        if (fold, number) not in self.before:
            earlier = [read_record(self.run.round(fold, r)) for r in range(number)]
            self.before[fold, number] = sum(len(record.history) for record in earlier)
        return self.before[fold, number]

    def _epochs(self, fold: int, rows: list[LoggedRow]) -> None:
        """Log what is new; of a round that was interrupted, the epochs come again, and are the same."""
        new = [row for row in rows if row.at > self.memory.epochs.get(str(fold), 0)]
        if self.sink and new and self._log(new):
            self.memory.epochs[str(fold)] = new[-1].at
            self._remember()

    def round_done(self, summary: RoundSummary, share: float) -> None:
        """Log a round's scores and sizes."""
        self._round(summary.entry(summary.parameters / share))

    def results(self) -> None:
        """Log the results, and before them whatever is missing, of a run trained without a tracker say."""
        self.start()
        if self.sink is None:
            return
        finished = read_run(self.run.path)
        for fold in range(finished.results.folds):
            for number in range(len(finished.results.rounds)):
                if (folder := self.run.round(fold, number)).done:  # a combined run has none of its own
                    self.fold_done(read_record(folder))
        for entry in finished.results.rounds:
            self._round(entry)
        with self._forgiving():
            if self.sink:
                self.sink.results(finished, self.memory.rows)
                self.memory.finished = True
        self._remember()

    def close(self, failed: bool) -> None:
        """Send what is left. Never raises."""
        with suppress(Exception):
            if self.sink:
                self.sink.close(failed)

    def _round(self, entry: Round) -> None:
        if self.sink and entry.round >= self.memory.rounds and self._log([round_row(entry)]):
            self.memory.rounds = entry.round + 1
            self._remember()

    def _log(self, rows: list[LoggedRow]) -> bool:
        """Whether the rows are on their way."""
        with self._forgiving():
            if self.sink:
                for number, row in enumerate(rows, self.memory.rows):
                    self.sink.log(number, row)
                self.sink.flush()
                self.memory.rows += len(rows)
                return True
        return False

    def _remember(self) -> None:
        write_text(self.file, as_json(self.memory))

    @contextmanager
    def _forgiving(self) -> Iterator[None]:
        """A dashboard's failure is a note, and the end of the tracking; the run goes on."""
        try:
            yield
        except UserError:  # the run directory's own files are broken
            raise
        except Exception as error:  # whatever a dashboard's package may raise
            self.close(failed=True)
            self.sink, self.lost = None, True
            say(f"note: tracking ended ({error}); the run goes on, and the same command tells the rest later")


def read_memory(run: RunDirectory, kind: str) -> Memory:
    """What the dashboard was told. UserError if the file is damaged."""
    file = run.tracker(kind)
    if not file.is_file():
        return Memory()
    return read_json(file, Memory, "delete it, and the run goes to the dashboard once more, as a new one")


def say(text: str) -> None:
    """A line on the terminal."""
    Console(soft_wrap=True, highlight=False).print(text, markup=False)
