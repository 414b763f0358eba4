"""From the rounds in the run directory to its figures: results.json, the tables, decisions, model/."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch

from mer_lightning import __version__
from mer_lightning.config.plugins import describe as plugin_version
from mer_lightning.config.schema import Config
from mer_lightning.data.corpus import TRAIN_SPLITS, UNLABELLED, Corpus
from mer_lightning.files.atomic import new_folder, write_text
from mer_lightning.files.checksums import write_checksums
from mer_lightning.files.recorded import Data, Results
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.files.strict_json import as_json
from mer_lightning.model.checkpoint import Trained, read_network, write_network
from mer_lightning.model.decisions import RowDecisions, in_order, union, write_decisions
from mer_lightning.results.choice import smallest_within_error
from mer_lightning.results.description import FILE, Description, Member, needed_features
from mer_lightning.results.prediction import csv_text, predictions_csv
from mer_lightning.results.priors import training_priors, under_priors
from mer_lightning.results.summary import RoundSummary, summarise_round
from mer_lightning.training.outcome import round_decisions

PACKAGES = ("torch", "lightning", "hydra-core", "torchmetrics", "numpy", "scikit-learn")


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
    if config.protocol == "fixed":  # the one time that the test sets are scored
        best = summarise_round(config, run, corpus, folds, best.number, chosen=True)
        summaries = [best if s.number == best.number else s for s in summaries]
    parts = round_decisions(run, best.number, folds, config.ensemble, len(corpus.utterances))
    parts[-1], priors = under_priors(config, corpus, parts[-1])
    networks = {
        Member(f"fold_{f}", f, 1 / folds, 1 / folds): run.round(f, best.number).network for f in range(folds)
    }
    write_files(config, run, corpus, summaries, parts, networks, priors=priors)


def write_files(
    config: Config,
    run: RunDirectory,
    corpus: Corpus,
    summaries: Sequence[RoundSummary],
    parts: Sequence[RowDecisions],
    networks: Mapping[Member, Path],
    before: float | None = None,
    priors: Mapping[str, Mapping[str, float]] = MappingProxyType({}),
) -> None:
    """All files of a finished run; ``results.json`` last, because it says that the run is finished.

    Args:
        parts: the chosen round's decisions, as ``round_decisions``.
        networks: the ensemble's members, and the stem of each one's files.
        before: the parameters that sizes are a share of; None: those of round 0.
        priors: test set -> emotion -> prior, where ``config.priors`` changed the decisions on it.
    """
    best = chosen_round(config, summaries)
    full = summaries[0].parameters if before is None else before
    write_text(run.rounds, rounds_csv(summaries, full))
    trained = {member: read_network(stem) for member, stem in networks.items()}
    branch_names = union([t.network.branch_names for t in trained.values()])
    write_text(run.predictions, predictions_csv(corpus, parts, branch_names, has_valence(corpus)))
    write_decisions(run.decisions, RowDecisions(torch.arange(len(corpus.utterances)), in_order(parts)))
    with new_folder(run.model) as folder:
        for member, network in trained.items():
            write_network(folder / member.file, network)
        write_text(folder / FILE, as_json(describe(config, corpus, trained, best.number)))
        write_checksums(folder)
    results = results_of(config, corpus, summaries, best, full)
    write_text(run.results, as_json(replace(results, priors={k: dict(p) for k, p in priors.items()})))


def describe(config: Config, corpus: Corpus, trained: Mapping[Member, Trained], number: int) -> Description:
    """The model that round ``number`` left behind."""
    return Description(
        classes=corpus.classes,
        ensemble=config.ensemble,
        networks=tuple(trained),
        features=needed_features(t.network.architecture for t in trained.values()),
        extractors=corpus.extractors,
        valence=has_valence(corpus),
        standardise=config.data.standardise,
        priors=tuple(training_priors(config, corpus).tolist()),
        origin={"experiment": config.experiment_name, "data": corpus.name, "round": number},
    )


def has_valence(corpus: Corpus) -> bool:
    """Whether there are valences to learn from."""
    return bool(np.isfinite(corpus.valences[corpus.rows(TRAIN_SPLITS)]).any())


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
        transductive=config.revision.rounds > 0 and not len(corpus.rows([UNLABELLED])),
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
        flat = {
            k: v
            for k, v in row.items()
            if k not in ("validation", "by_fold", "test", "notes", "epochs", "widths")
        }
        flat["epochs"] = " ".join(map(str, row["epochs"]))
        scores = {"validation": s.validation} | {f"test_{split}": x for split, x in s.test.items()}
        flat |= {f"{part}_{name}": v for part, x in scores.items() for name, v in x.flat().items()}
        rows.append(flat)
    names = list(dict.fromkeys(name for row in rows for name in row))
    return csv_text(names, [[row.get(name) for name in names] for row in rows])
