"""Between the cross-validation and those who watch it: sums up each round that all folds have finished."""

from collections.abc import Sequence
from typing import Protocol

from mer_lightning.config.schema import Config
from mer_lightning.data.corpus import Corpus
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.results.summary import RoundSummary, summarise_round
from mer_lightning.training.news import Epoch, News
from mer_lightning.training.outcome import RoundRecord, read_record


class View(Protocol):
    """What shows a run: the terminal, a dashboard. The truth is in the run directory."""

    def epoch(self, news: Epoch) -> None:
        """An epoch ended."""

    def fold_done(self, record: RoundRecord) -> None:
        """A fold finished a round, now or before the run was continued."""

    def round_done(self, summary: RoundSummary, share: float) -> None:
        """All folds finished a round, now or before; ``share`` of round 0's parameters are left."""


class Rounds:
    """Listens to a cross-validation for the views. ``summaries`` holds the finished rounds, in order.

    What the run directory holds already is told to the views first, as if it happened now.
    """

    def __init__(
        self, config: Config, run: RunDirectory, corpus: Corpus, folds: int, views: Sequence[View]
    ) -> None:
        self.config, self.run, self.corpus, self.folds, self.views = config, run, corpus, folds, views
        self.summaries: list[RoundSummary] = []
        for number in range(config.last_round + 1):
            for fold in range(folds):
                if run.round(fold, number).done:
                    self._tell_fold(fold, number)
        self._sum_up()

    def __call__(self, news: News) -> None:
        """Pass on what the cross-validation tells."""
        if isinstance(news, Epoch):
            for view in self.views:
                view.epoch(news)
        else:
            self._tell_fold(news.fold, news.round)
            self._sum_up()

    def _tell_fold(self, fold: int, number: int) -> None:
        record = read_record(self.run.round(fold, number))
        for view in self.views:
            view.fold_done(record)

    def _sum_up(self) -> None:
        last = self.config.last_round
        while (r := len(self.summaries)) <= last and all(
            self.run.round(fold, r).done for fold in range(self.folds)
        ):
            summary = summarise_round(self.config, self.run, self.corpus, self.folds, r)
            self.summaries.append(summary)
            for view in self.views:
                view.round_done(summary, summary.parameters / self.summaries[0].parameters)
