"""A round over all folds: its scores, its sizes, and what it is chosen by."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean

import numpy as np

from mer_lightning.config.schema import Config
from mer_lightning.data.corpus import TRAIN_SPLITS, UNLABELLED, Corpus
from mer_lightning.files.recorded import AllScores, Round, Scores, Spread
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.model.decisions import RowDecisions, concatenated
from mer_lightning.model.metrics import selection
from mer_lightning.results.choice import selection_error
from mer_lightning.results.priors import under_priors
from mer_lightning.results.scoring import all_scores, spreads, training_means
from mer_lightning.training.outcome import RoundRecord, read_part, read_record, round_decisions


@dataclass(frozen=True)
class RoundSummary:
    """One round over all folds."""

    number: int
    records: list[RoundRecord]
    selection: float  # mean over folds of the stopping part's score: what the round is chosen by
    validation: AllScores  # of the out-of-fold predictions
    error: float  # standard error of selection
    by_fold: list[Scores]  # of each fold's held-out part
    test: dict[str, AllScores]
    single: dict[str, dict[str, Spread]]  # as in Results

    @property
    def parameters(self) -> float:
        """Mean over folds."""
        return mean(r.parameters for r in self.records)

    def entry(self, full: float) -> Round:
        """The same in results.json; ``full``: the parameters that its size is a share of."""
        return Round(
            round=self.number,
            parameters=round(self.parameters),
            parameters_ratio=self.parameters / full,
            nodes=round(mean(r.nodes for r in self.records)),
            macs=round(mean(r.macs for r in self.records)),
            seconds=round(sum(r.seconds for r in self.records), 2),
            epochs=[r.epochs for r in self.records],
            selection=self.selection,
            selection_error=self.error,
            validation=self.validation,
            by_fold=self.by_fold,
            test=self.test,
            compact_error=max(r.difference for r in self.records),
            notes=[f"fold {r.fold}: {note}" for r in self.records for note in r.notes],
            widths={group: [r.widths[group] for r in self.records] for group in self.records[0].widths},
        )


def summarise_round(
    config: Config, run: RunDirectory, corpus: Corpus, folds: int, number: int, chosen: bool = False
) -> RoundSummary:
    """Scores and sizes of a round that every fold has finished.

    With ``protocol=fixed`` the test sets are scored for the ``chosen`` one alone.
    """
    rounds, n = [run.round(fold, number) for fold in range(folds)], len(corpus.utterances)
    stopping, tests = ([read_part(r, part, n) for r in rounds] for part in ("stopping", "test"))
    parts = round_decisions(run, number, folds, config.ensemble, n)
    records = [read_record(r) for r in rounds]
    tested = chosen or config.protocol != "fixed"
    parts[-1], _ = under_priors(config, corpus, parts[-1])
    tests = [under_priors(config, corpus, test)[0] for test in tests]
    return summarise(config.trainer.monitor, number, records, parts, corpus, stopping, tests, tested)


def selection_score(scores: Sequence[Scores], variance: float, monitor: str = "score") -> float:
    """Mean over folds of ``metrics.selection``; ``score``: of Dis for all if one of them has no valence.

    Args:
        variance: of the valences of Train&Val.
    """
    if monitor == "score" and any(s.dim is None for s in scores):
        return mean(s.dis for s in scores if s.dis is not None)
    return mean(selection(s, variance, monitor) for s in scores)


def summarise(
    monitor: str,
    number: int,
    records: list[RoundRecord],
    parts: Sequence[RowDecisions],
    corpus: Corpus,
    stopping: Sequence[RowDecisions] | None = None,
    tests: Sequence[RowDecisions] = (),
    tested: bool = True,
) -> RoundSummary:
    """Scores of decisions, with the sizes of the networks that made them.

    Args:
        monitor: see ``metrics.selection``.
        parts: as ``round_decisions``.
        stopping: on each fold's stopping part; None: those on its held-out part select the round.
        tests: each fold's network alone on the test sets.
        tested: whether the test sets are scored.
    """
    *held_out, test = parts
    stopping = held_out if stopping is None else stopping
    selecting = [part.scores(corpus) for part in stopping]
    constants = training_means(held_out, stopping, corpus)
    own = np.concatenate([np.full(len(p.rows), x) for p, x in zip(held_out, constants, strict=True)])
    sets = {split: corpus.rows([split]) for split in corpus.tests if tested}
    return RoundSummary(
        number=number,
        records=records,
        selection=selection_score(selecting, corpus.valence_variance, monitor),
        error=selection_error(stopping, corpus, monitor),
        validation=all_scores(concatenated(held_out), corpus, own),
        by_fold=[part.scores(corpus) for part in held_out],
        test={split: all_scores(test.among(rows), corpus, mean(constants)) for split, rows in sets.items()},
        single={
            split: spreads(
                [all_scores(t.among(rows), corpus, x) for t, x in zip(tests, constants, strict=True)]
            )
            for split, rows in sets.items()
            if len(tests) > 1
        },
    )


def splits_line(corpus: Corpus) -> str:
    """How many utterances there are to train on and to test on, in words."""
    others = [*corpus.tests, UNLABELLED]
    counts = [f"{len(rows)} {split}" for split in others if len(rows := corpus.rows([split]))]
    return ", ".join([f"{len(corpus.rows(TRAIN_SPLITS))} Train&Val", *counts])
