"""What a run shows: bars per fold on a terminal, one line per finished round, the results at the end."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from hydra.core.hydra_config import HydraConfig
from rich.box import SIMPLE
from rich.console import Console
from rich.measure import Measurement
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from mer_lightning.config.job import in_a_sweep
from mer_lightning.config.schema import Config
from mer_lightning.data.corpus import Corpus
from mer_lightning.files.atomic import write_bytes, write_text
from mer_lightning.files.recorded import Results, Scores
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.report.prose import NAMES
from mer_lightning.report.runs import TRAIN_VAL, part_name, part_scores
from mer_lightning.report.sweep import read_settings, sweep_csv, sweep_picture, sweep_table, swept_keys
from mer_lightning.results.choice import reason, saving
from mer_lightning.results.remarks import score_remarks
from mer_lightning.results.summary import RoundSummary, splits_line
from mer_lightning.training.news import Epoch
from mer_lightning.training.outcome import RoundRecord

SYNTHETIC = "synthetic data: made up, its figures say nothing about people"


def number(value: float | None, digits: int = 4) -> str:
    """A score, or a dash where there is none."""
    return "-" if value is None else f"{value:.{digits}f}"


def scores_text(scores: Scores) -> str:
    """Dis, Dim and Com in a line."""
    return f"Dis {number(scores.dis)}  Dim {number(scores.dim)}  Com {number(scores.com)}"


class Display:
    """A view of a run on the terminal: a bar per fold, and a line per finished round. A context manager."""

    def __init__(
        self, config: Config, run: RunDirectory, corpus: Corpus, folds: int, warnings: Sequence[str]
    ) -> None:
        self.config, self.run, self.corpus, self.folds, self.warnings = config, run, corpus, folds, warnings
        self.console = Console(soft_wrap=True, highlight=False)
        self.bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[news]}"),
            TimeElapsedColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self.fold_bars: list[TaskID] = []

    def __enter__(self) -> Self:
        rounds = self.config.last_round + 1
        self._say(f"{self.config.experiment_name} on {self.corpus.name}: {splits_line(self.corpus)}")
        fixed = self.config.protocol == "fixed"
        fits = "one network (trained on train, stopped on val)" if fixed else f"{self.folds} folds"
        self._say(f"{fits} x {rounds} rounds, into {self.run.path}")
        if self.corpus.synthetic:
            self._say(SYNTHETIC)
        for warning in self.warnings:
            self._say(f"note: {warning}")
        for fold in range(self.folds):
            self.fold_bars.append(self.bars.add_task(f"fold {fold}", total=rounds, news=""))
        self.bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bars.stop()
        if kind is KeyboardInterrupt and not in_a_sweep():  # which is continued as a whole
            self._say(
                f"interrupted; the finished rounds are kept. Continue with: {continue_command(self.run)}"
            )

    def epoch(self, news: Epoch) -> None:
        """Show how far a fit is."""
        total = self.config.trainer.epochs
        text = f"round {news.round}  epoch {news.epoch}/{total}  score {news.score:.4f}"
        self.bars.update(self.fold_bars[news.fold], news=text)

    def fold_done(self, record: RoundRecord) -> None:
        """Advance the fold's bar."""
        self.bars.advance(self.fold_bars[record.fold])

    def round_done(self, summary: RoundSummary, share: float) -> None:
        """Print the round's line."""
        notes = [f"fold {x.fold}: {note}" for x in summary.records for note in x.notes]
        guarded = self.config.pnao.guard == "on"
        self._say(
            f"round {summary.number:2d}  {scores_text(summary.validation)}  parameters "
            f"{summary.parameters:,.0f} ({share:.1%})"
            + (f"  guards held {len(notes)} layers" if guarded and notes else "")
        )
        for note in [] if guarded else notes:  # without guards they name what has died
            self._say(f"  {note}")

    def _say(self, text: str) -> None:
        self.console.print(text, markup=False)


def continue_command(run: RunDirectory) -> str:
    """The command that goes on with this run, or with the one that it is a part of."""
    given = [a for a in sys.argv[1:] if not a.startswith("hydra.run.dir=")]
    whole = HydraConfig.get().runtime.output_dir if HydraConfig.initialized() else run.path
    return shlex.join(["python", "-m", "mer_lightning", *given, f"hydra.run.dir={whole}"])


def show_results(run: RunDirectory) -> None:
    """The final table of a finished run, and where its files are."""
    results = run.read_results()
    console = Console(soft_wrap=True, highlight=False)
    title = f"{results.experiment} on {results.data.name}, seed {results.seed}"
    if results.data.synthetic:
        title += " (synthetic data)"
    print_whole(results_table(results, title))
    validation = part_name(results, TRAIN_VAL)
    what = (
        "Train&Val, out of fold" if validation == TRAIN_VAL else f"{validation}, which stopped the training"
    )
    console.print(f"* {chosen_text(results)}. Without a name: {what}", markup=False)
    for line in [*single_lines(results), *(f"note: {x}" for x in score_remarks(results, validation))]:
        console.print(line, markup=False)
    for what, path in (("results", run.results), ("predictions", run.predictions), ("model", run.model)):
        console.print(f"{what:12s}{path}", markup=False)


def single_lines(results: Results) -> list[str]:
    """What one network alone scores on each test set: mean and standard deviation over the folds."""
    return [
        f"{split}, one network alone: "
        + ", ".join(f"{name} {s[m].mean:.4f} ± {s[m].deviation:.4f}" for m, name in NAMES.items() if m in s)
        for split, s in results.single.items()
        if s
    ]


def show_sweep(folder: Path) -> None:
    """Print the table of a sweep's finished settings, if any; write table and picture into its folder."""
    settings = read_settings(folder)
    if not settings:
        return
    print_whole(sweep_table(settings, str(folder)))
    write_text(folder / "sweep.csv", sweep_csv(settings))
    print(f"settings    {folder / 'sweep.csv'}")
    if swept_keys(settings):
        write_bytes(folder / "sweep.png", sweep_picture(settings))
        print(f"picture     {folder / 'sweep.png'}")


def print_whole(table: Table) -> None:
    """Print a table: better long lines than cut numbers."""
    console = Console(highlight=False)
    wide = Measurement.get(console, console.options.update(max_width=1000), table).maximum
    Console(width=max(wide, console.width), highlight=False).print(table)


def results_table(results: Results, title: str) -> Table:
    """One row per round; scores that no set has labels for are left out."""
    parts = [TRAIN_VAL, *results.test]
    columns = [(part, m) for part in parts for m in NAMES if part_scores(results, part)[m] is not None]
    names = [NAMES[m] if part == TRAIN_VAL else f"{part} {NAMES[m]}" for part, m in columns]
    table = Table(title=title, title_justify="left", box=SIMPLE, padding=(0, 1), pad_edge=False)
    for header in ("round", "parameters", "left", *names):
        table.add_column(header, justify="right", no_wrap=True)
    for row in results.rounds:
        chosen = row is results.best
        table.add_row(
            f"{'* ' if chosen else ''}{row.round}",
            f"{row.parameters:,}",
            f"{row.parameters_ratio:.1%}",
            *(number(part_scores(row, part)[m]) for part, m in columns),
            style="bold" if chosen else None,
        )
    return table


def chosen_text(results: Results) -> str:
    """Why the marked round was chosen, and what it saves, in words."""
    return "; ".join(filter(None, (f"chosen: {reason(results)}", saving(results))))
