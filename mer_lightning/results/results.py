"""From the rounds in the run directory to its figures: results.json, the tables, decisions, model/."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import mean

import numpy as np
import torch

from mer_lightning import __version__
from mer_lightning.config.plugins import describe as plugin_version
from mer_lightning.config.schema import Config
from mer_lightning.data.corpus import TRAIN_SPLITS, Corpus
from mer_lightning.files.atomic import new_folder, write_text
from mer_lightning.files.checksums import write_checksums
from mer_lightning.files.recorded import AllScores, Data, Results, Round, Scores, Spread
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.files.strict_json import as_json
from mer_lightning.model.checkpoint import Trained, read_network, write_network
from mer_lightning.model.decisions import RowDecisions, concatenated, in_order, union, write_decisions
from mer_lightning.model.metrics import selection
from mer_lightning.results.choice import selection_error, smallest_within_error
from mer_lightning.results.description import FILE, Description, Member, needed_features
from mer_lightning.results.prediction import csv_text, predictions_csv
from mer_lightning.results.scoring import all_scores, spreads, training_means
from mer_lightning.training.outcome import Record, read_part, read_record, round_decisions

PACKAGES = ("torch", "lightning", "hydra-core", "torchmetrics", "numpy", "scikit-learn")


@dataclass(frozen=True)
class RoundSummary:
    """One round over all folds."""

    number: int
    records: list[Record]
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
        )


def summarise_round(
    config: Config, run: RunDirectory, corpus: Corpus, folds: int, number: int
) -> RoundSummary:
    """Scores and sizes of a round that every fold has finished."""
    rounds, n = [run.round(fold, number) for fold in range(folds)], len(corpus.utterances)
    stopping, tests = ([read_part(r, part, n) for r in rounds] for part in ("stopping", "test"))
    parts = round_decisions(run, number, folds, config.ensemble, n)
    records = [read_record(r) for r in rounds]
    return summarise(config.trainer.monitor, number, records, parts, corpus, stopping, tests)


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
    records: list[Record],
    parts: Sequence[RowDecisions],
    corpus: Corpus,
    stopping: Sequence[RowDecisions] | None = None,
    tests: Sequence[RowDecisions] = (),
) -> RoundSummary:
    """Scores of decisions, with the sizes of the networks that made them.

    Args:
        monitor: see ``metrics.selection``.
        parts: as ``round_decisions``.
        stopping: on each fold's stopping part; None: those on its held-out part select the round.
        tests: each fold's network alone on the test sets.
    """
    *held_out, test = parts
    stopping = held_out if stopping is None else stopping
    selecting = [part.scores(corpus) for part in stopping]
    constants = training_means(held_out, stopping, corpus)
    own = np.concatenate([np.full(len(p.rows), x) for p, x in zip(held_out, constants, strict=True)])
    sets = {split: corpus.rows([split]) for split in test_sets(corpus)}
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


def chosen_round(config: Config, summaries: Sequence[RoundSummary]) -> RoundSummary:
    """By ``pnao.choose``, on validation; the test sets have no say.

    ``one_shot`` stands for one size: its round 0, which has another, is none to choose.
    """
    first = 1 if config.pnao.control == "one_shot" and len(summaries) > 1 else 0
    rounds = summaries[first:]
    best = max(rounds, key=lambda s: s.selection)
    if config.pnao.choose == "best":
        return best
    return smallest_within_error(rounds)


def write_results(
    config: Config, run: RunDirectory, corpus: Corpus, summaries: Sequence[RoundSummary]
) -> None:
    """The files of a finished cross-validation."""
    best = chosen_round(config, summaries)
    folds = len(best.records)
    parts = round_decisions(run, best.number, folds, config.ensemble, len(corpus.utterances))
    networks = {
        Member(f"fold_{f}", f, 1 / folds, 1 / folds): run.round(f, best.number).network for f in range(folds)
    }
    write_files(config, run, corpus, summaries, parts, networks)


def write_files(
    config: Config,
    run: RunDirectory,
    corpus: Corpus,
    summaries: Sequence[RoundSummary],
    parts: Sequence[RowDecisions],
    networks: Mapping[Member, Path],
    before: float | None = None,
) -> None:
    """All files of a finished run; ``results.json`` last, because it says that the run is finished.

    Args:
        parts: the chosen round's decisions, as ``round_decisions``.
        networks: the ensemble's members, and the stem of each one's files.
        before: the parameters that sizes are a share of; None: those of round 0.
    """
    best = chosen_round(config, summaries)
    full = summaries[0].parameters if before is None else before
    write_text(run.rounds, rounds_csv(summaries, full))
    trained = {member: read_network(stem) for member, stem in networks.items()}
    branch_names = union([t.network.branch_names for t in trained.values()])
    write_text(run.predictions, predictions_csv(corpus, parts, branch_names))
    write_decisions(run.decisions, RowDecisions(torch.arange(len(corpus.utterances)), in_order(parts)))
    with new_folder(run.model) as folder:
        for member, network in trained.items():
            write_network(folder / member.file, network)
        write_text(folder / FILE, as_json(describe(config, corpus, trained, best.number)))
        write_checksums(folder)
    write_text(run.results, as_json(results_of(config, corpus, summaries, best, full)))


def describe(config: Config, corpus: Corpus, trained: Mapping[Member, Trained], number: int) -> Description:
    """The model that round ``number`` left behind."""
    return Description(
        classes=corpus.classes,
        ensemble=config.ensemble,
        networks=tuple(trained),
        features=needed_features(t.network.architecture for t in trained.values()),
        extractors=corpus.extractors,
        valence=bool(np.isfinite(corpus.valences[corpus.rows(TRAIN_SPLITS)]).any()),
        origin={"experiment": config.experiment_name, "data": corpus.name, "round": number},
    )


def results_of(
    config: Config, corpus: Corpus, summaries: Sequence[RoundSummary], best: RoundSummary, full: float
) -> Results:
    """The content of results.json; ``full``: the parameters that sizes are a share of."""
    dimensions = corpus.dimensions
    splits = [u.split for u in corpus.utterances]
    return Results(
        experiment=config.experiment_name,
        seed=config.seed,
        folds=len(best.records),
        protocol=config.protocol,
        transductive=config.revision.rounds > 0,
        data=Data(
            name=corpus.name,
            synthetic=corpus.synthetic,
            classes=list(corpus.classes),
            levels={name: dimensions[name] for name in corpus.levels},
            shared={name: dimensions[name] for name in corpus.shared},
            n={split: splits.count(split) for split in sorted(set(splits))},
        ),
        rounds=[s.entry(full) for s in summaries],
        best_round=best.number,
        chosen_by=config.pnao.choose,
        validation=best.validation,
        test=best.test,
        single=best.single,
        versions={"mer-lightning": __version__, "python": platform.python_version()}
        | {name: version(name) for name in PACKAGES}
        | {f"plugin {name}": plugin_version(name) for name in config.plugins},
        seconds=round(sum(r.seconds for s in summaries for r in s.records), 2),
    )


def rounds_csv(summaries: Sequence[RoundSummary], full: float) -> str:
    """One row per round."""
    rows = []
    for s in summaries:
        row = vars(s.entry(full))
        flat = {k: v for k, v in row.items() if k not in ("validation", "by_fold", "test", "notes", "epochs")}
        flat["epochs"] = " ".join(map(str, row["epochs"]))
        scores = {"validation": s.validation} | {f"test_{split}": x for split, x in s.test.items()}
        flat |= {f"{part}_{name}": v for part, x in scores.items() for name, v in x.flat().items()}
        rows.append(flat)
    names = list(dict.fromkeys(name for row in rows for name in row))
    return csv_text(names, [[row.get(name) for name in names] for row in rows])


def test_sets(corpus: Corpus) -> list[str]:
    """The splits that are no part of Train&Val."""
    return sorted({u.split for u in corpus.utterances} - set(TRAIN_SPLITS))


def splits_line(corpus: Corpus) -> str:
    """How many utterances there are to train on and to test on, in words."""
    counts = [f"{len(corpus.rows([t]))} {t}" for t in test_sets(corpus)]
    return ", ".join([f"{len(corpus.rows(TRAIN_SPLITS))} Train&Val", *counts])
