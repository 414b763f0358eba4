"""Systems trained apart, decided together: ``ustc_qw`` and ``final``. Part of ``task=fit``."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import LinearConstraint, minimize

from mer_lightning.config.groups import CombineConfig
from mer_lightning.config.schema import Config
from mer_lightning.data.corpus import Corpus
from mer_lightning.data.folds import read_folds, write_folds
from mer_lightning.errors import UserError
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.model.checkpoint import read_network
from mer_lightning.model.decisions import (
    EnsembleWeights,
    RowDecisions,
    average_posteriors,
    concatenated,
    ensemble_decision,
)
from mer_lightning.model.losses import emotion_loss, valence_loss
from mer_lightning.results.description import Member
from mer_lightning.results.results import write_files
from mer_lightning.results.summary import summarise
from mer_lightning.training.outcome import RoundRecord, read_record, round_decisions


def members(config: Config, corpus: Corpus) -> dict[str, Config]:
    """Name -> configuration of each system that is trained apart."""
    alone = replace(config, combine=CombineConfig(of="none", weights="mean", runs=[]))  # as if trained alone
    if config.combine.of == "levels":
        return {
            level: replace(
                alone,
                experiment_name=f"level {level}",
                data=replace(config.data, levels=[level], shared=list(corpus.shared), features=None),
                fusion=replace(config.fusion, kind="mean", weights=[]),
            )
            for level in corpus.levels
        }
    return {
        name: replace(alone, experiment_name=name, fusion=replace(config.fusion, kind=kind))
        for name, kind in (("pnao_attention", "attention"), ("pnao", "entropy"))
    }


def check_same_data(run: RunDirectory, corpus: Corpus) -> None:
    """A UserError if ``run`` was not on the same labels, in the same order, and the same features."""
    theirs, ours = run.read_fingerprint(), corpus.fingerprint
    changed = [name for name, digest in theirs.features.items() if ours.features.get(name, digest) != digest]
    if theirs.labels != ours.labels or changed:
        what = "the labels" if theirs.labels != ours.labels else f"feature set {changed[0]!r}"
        raise UserError(
            f"{run.path}: {what} are not those this run was trained on; restore the data, or start a new run"
        )


def combine(config: Config, directory: RunDirectory, corpus: Corpus, runs: Sequence[RunDirectory]) -> None:
    """Write the results of the finished ``runs`` together.

    Raises UserError where the runs are not on the same folds.
    """
    drawn = same_folds(runs, corpus)
    write_folds(directory.folds, corpus, drawn)
    folds, n = int(drawn.max()) + 1, len(corpus.utterances)
    rounds = [(run, run.best_round()) for run in runs]
    systems = [round_decisions(run, r, folds, config.ensemble, n) for run, r in rounds]
    names = [read_network(run.round(0, r).network).network.branch_names for run, r in rounds]
    weights = [fit_weights(systems, corpus, config, leave_out) for leave_out in range(folds + 1)]
    parts = [
        RowDecisions(
            part[0].rows, ensemble_decision([p.decision for p in part], fitted, config.ensemble, names)
        )
        for part, fitted in zip(zip(*systems, strict=True), weights, strict=True)
    ]
    records = [total([trained(run, f, r) for run, r in rounds]) for f in range(folds)]
    posterior, valence = ([x / folds for x in w.tolist()] for w in weights[-1])
    networks = {
        Member(f"system_{k}_fold_{f}", f, posterior[k], valence[k]): run.round(f, r).network
        for k, (run, r) in enumerate(rounds)
        for f in range(folds)
    }
    summary = summarise(config.trainer.monitor, 0, records, parts, corpus)
    before = sum(float(run.read_results().rounds[0].parameters) for run in runs)
    write_files(config, directory, corpus, [summary], parts, networks, before)


def same_folds(runs: Sequence[RunDirectory], corpus: Corpus) -> NDArray[np.int64]:
    """(n,) the folds, which all runs must have drawn alike."""
    drawn = [read_folds(run.folds, corpus) for run in runs]
    for run, folds in zip(runs, drawn, strict=True):
        if not np.array_equal(folds, drawn[0]):
            raise UserError(f"{run.path} has other folds than {runs[0].path}: combine runs of the same seed")
    return drawn[0]


def fit_weights(
    systems: Sequence[Sequence[RowDecisions]], corpus: Corpus, config: Config, leave_out: int
) -> EnsembleWeights:
    """Equal weights, or those with the least cross-entropy and squared error on the out-of-fold decisions.

    Args:
        systems: the decisions of each, as ``round_decisions``.
        leave_out: a part that is not looked at: a fold, or the test sets, which never are.
    """
    equal = torch.full((len(systems),), 1 / len(systems))
    if config.combine.weights == "mean":
        return EnsembleWeights(equal, equal)
    seen = [concatenated([p for f, p in enumerate(parts[:-1]) if f != leave_out]) for parts in systems]
    emotion = torch.from_numpy(corpus.emotions)[seen[0].rows]
    valence = torch.from_numpy(corpus.valences)[seen[0].rows]
    log_posteriors = torch.stack([s.decision.log_posterior for s in seen]).double()
    valences = torch.stack([s.decision.valence for s in seen]).double()

    def cross_entropy(w: torch.Tensor) -> torch.Tensor:
        return emotion_loss(average_posteriors(log_posteriors, w, config.ensemble), emotion)

    def squared_error(w: torch.Tensor) -> torch.Tensor:
        return valence_loss(w @ valences, valence)

    known = bool((~valence.isnan()).any())
    return EnsembleWeights(
        on_simplex(cross_entropy, len(systems)), on_simplex(squared_error, len(systems)) if known else equal
    )


def on_simplex(loss: Callable[[torch.Tensor], torch.Tensor], k: int) -> torch.Tensor:
    """The (k,) weights >= 0 with sum 1 that minimise a convex ``loss``."""
    found = minimize(
        lambda w: float(loss(torch.from_numpy(w))),
        np.full(k, 1 / k),
        bounds=[(0, 1)] * k,
        constraints=LinearConstraint(np.ones(k), 1, 1),
        method="SLSQP",
    )
    weights = np.clip(found.x, 0, None)
    return torch.from_numpy(weights / weights.sum()).float()


def trained(run: RunDirectory, fold: int, number: int) -> RoundRecord:
    """The record of a round on a fold, with the seconds of all the run's rounds."""
    records = [read_record(run.round(fold, r)) for r in range(len(run.read_results().rounds))]
    return replace(records[number], seconds=sum(r.seconds for r in records))


def total(records: Sequence[RoundRecord]) -> RoundRecord:
    """The sizes and times of several systems' networks on one fold, added up."""
    summed = ("parameters", "nodes", "macs", "epochs", "seconds")
    sums: dict[str, Any] = {name: sum(getattr(r, name) for r in records) for name in summed}
    widths = {f"system_{k}.{group}": n for k, r in enumerate(records) for group, n in r.widths.items()}
    return replace(records[0], round=0, notes=[], history=[], widths=widths, **sums)


def given_runs(config: Config, corpus: Corpus) -> list[RunDirectory]:
    """The finished runs named by ``combine.runs``.

    Raises UserError for one that is not finished, or is on other utterances, labels or folds.
    """
    runs = [RunDirectory(Path(path)) for path in config.combine.runs]
    if len(runs) == 1:
        raise UserError(f"combine.runs={config.combine.runs}: name at least two finished runs")
    for run in runs:
        if run.read_results().priors:
            raise UserError(f"combine.runs: {run.path} has posteriors under priors=; combine runs without")
        check_same_data(run, corpus)
    if runs:
        same_folds(runs, corpus)
    return runs
