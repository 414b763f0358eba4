"""Systems trained apart, decided together: ``ustc_qw`` and ``final``. Part of ``task=fit``."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

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
from mer_lightning.model.losses import emotion_loss, valence_loss
from mer_lightning.results.decisions import Decided, Fused, Shares, decide, joined, mixed
from mer_lightning.results.description import Share
from mer_lightning.results.predictor import average_posteriors
from mer_lightning.results.results import selection_score, summarise, write_files
from mer_lightning.training.outcome import Record, read_record


def members(config: Config, corpus: Corpus) -> dict[str, Config]:
    """Name -> configuration of each system that is trained apart."""
    alone = replace(config, combine=CombineConfig(of="none", weights="mean", runs=[]))  # as if trained alone
    if config.combine.of == "levels":
        return {
            level: replace(
                alone,
                experiment_name=f"level {level}",
                data=replace(config.data, levels=[level], shared=list(corpus.shared)),
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
    theirs, ours = run.read_fingerprint(), corpus.fingerprint()
    changed = [name for name, digest in theirs.features.items() if ours.features.get(name, digest) != digest]
    if theirs.labels != ours.labels or changed:
        what = "the labels" if theirs.labels != ours.labels else f"feature set {changed[0]!r}"
        raise UserError(
            f"{run.path}: {what} are not those this run was trained on; restore the data, or start a new run"
        )


def combine(config: Config, directory: RunDirectory, corpus: Corpus, runs: Sequence[RunDirectory]) -> None:
    """Write the results of the finished ``runs`` together.

    Raises UserError where the runs are not on the same utterances, labels and folds.
    """
    for run in runs:
        check_same_data(run, corpus)
    drawn = same_folds(runs, corpus)
    write_folds(directory.folds, corpus, drawn)
    folds = int(drawn.max()) + 1
    rounds = [run.best_round() for run in runs]
    systems = [decide(run, r, folds, config.ensemble) for run, r in zip(runs, rounds, strict=True)]
    shares = fit_shares(systems, corpus, config, leave_out=None)
    decided = together(systems, corpus, config, shares)
    records = [total([trained(run, f, r) for run, r in zip(runs, rounds, strict=True)]) for f in range(folds)]
    selection = selection_score([part.scores(corpus) for part in decided.held_out], corpus.valence_variance)
    networks = {
        Share(
            f"system_{k}_fold_{f}", f, float(shares.posterior[k]) / folds, float(shares.valence[k]) / folds
        ): run.round(f, rounds[k]).network
        for k, run in enumerate(runs)
        for f in range(folds)
    }
    summary = summarise(0, records, selection, decided, corpus)
    before = float(sum(run.read_results().rounds[0].parameters for run in runs))
    write_files(config, directory, corpus, [summary], decided, networks, before)


def same_folds(runs: Sequence[RunDirectory], corpus: Corpus) -> NDArray[np.int64]:
    """(n,) the folds, which all runs must have drawn alike."""
    drawn = [read_folds(run.folds, corpus) for run in runs]
    for run, folds in zip(runs, drawn, strict=True):
        if not np.array_equal(folds, drawn[0]):
            raise UserError(f"{run.path} has other folds than {runs[0].path}: combine runs of the same seed")
    return drawn[0]


def together(systems: Sequence[Decided], corpus: Corpus, config: Config, shares: Shares) -> Decided:
    """The systems' decisions mixed; on Train&Val with shares fitted without the fold they are applied to."""
    names = [s.voices for s in systems]
    held_out = []
    for fold in range(len(systems[0].held_out)):
        without = fit_shares(systems, corpus, config, leave_out=fold)
        held_out.append(mixed([s.held_out[fold] for s in systems], without, names, config.ensemble))
    test = mixed([s.test for s in systems], shares, names, config.ensemble)
    return Decided(tuple(dict.fromkeys(v for voices in names for v in voices)), held_out, test)


def fit_shares(systems: Sequence[Decided], corpus: Corpus, config: Config, leave_out: int | None) -> Shares:
    """Equal shares, or those with the least cross-entropy and squared error on the out-of-fold decisions."""
    equal = torch.full((len(systems),), 1 / len(systems))
    if config.combine.weights == "mean":
        return Shares(equal, equal)
    parts: list[Fused] = [
        joined([part for fold, part in enumerate(s.held_out) if fold != leave_out]) for s in systems
    ]
    rows = parts[0].rows
    emotion = torch.from_numpy(corpus.emotions)[rows]
    valence = torch.from_numpy(corpus.valences)[rows]
    log_posteriors = torch.stack([p.posterior for p in parts]).double().clamp_min(1e-38).log()
    valences = torch.stack([p.valence for p in parts]).double()

    def cross_entropy(w: torch.Tensor) -> torch.Tensor:
        mixture = average_posteriors(log_posteriors, w, config.ensemble)
        return emotion_loss(mixture.clamp_min(1e-12).log(), emotion)

    def squared_error(w: torch.Tensor) -> torch.Tensor:
        return valence_loss(torch.einsum("k,kb->b", w, valences), valence)

    known = bool((~valence.isnan()).any())
    return Shares(
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


def trained(run: RunDirectory, fold: int, number: int) -> Record:
    """The record of a round on a fold, with the seconds of all the run's rounds."""
    records = [read_record(run.round(fold, r)) for r in range(len(run.read_results().rounds))]
    return replace(records[number], seconds=sum(r.seconds for r in records))


def total(records: Sequence[Record]) -> Record:
    """The sizes and times of several systems' networks on one fold, added up."""
    first = records[0]
    return replace(
        first,
        round=0,
        parameters=sum(r.parameters for r in records),
        nodes=sum(r.nodes for r in records),
        macs=sum(r.macs for r in records),
        epochs=sum(r.epochs for r in records),
        seconds=sum(r.seconds for r in records),
        notes=[],
        history=[],
    )


def given_runs(config: Config) -> list[RunDirectory]:
    """The finished runs named by ``combine.runs``. UserError for one that is not finished."""
    runs = [RunDirectory(Path(path)) for path in config.combine.runs]
    if len(runs) == 1:
        raise UserError(f"combine.runs={config.combine.runs}: name at least two finished runs")
    for run in runs:
        run.read_results()
    return runs
