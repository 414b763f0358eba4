"""From the rounds in the run directory to its figures: results.json, rounds.csv, predictions.csv, model/."""

import csv
import io
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import mean
from typing import Any, SupportsFloat

import numpy as np

from mer_lightning import __version__
from mer_lightning.config.schema import Config
from mer_lightning.data.corpus import TRAIN_SPLITS, Corpus
from mer_lightning.files.atomic import new_folder, write_text
from mer_lightning.files.checksums import write_checksums
from mer_lightning.files.recorded import Data, Results, Round, Scores
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.files.strict_json import as_json
from mer_lightning.model.checkpoint import Trained, read_network, write_network
from mer_lightning.model.metrics import selection
from mer_lightning.results.decisions import Decided, Fused, by_split, decide, fused, joined
from mer_lightning.results.description import FILE, Description, Share, needed_features
from mer_lightning.training.outcome import Record, read_predictions, read_record

PACKAGES = ("torch", "lightning", "hydra-core", "torchmetrics", "numpy", "scikit-learn")


@dataclass(frozen=True)
class RoundSummary:
    """One round over all folds."""

    number: int
    records: list[Record]
    selection: float  # mean over folds of the stopping part's score: what the round is chosen by
    validation: Scores  # of the out-of-fold predictions
    by_fold: list[Scores]  # of each fold's held-out part
    test: dict[str, Scores]

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
    rounds = [run.round(fold, number) for fold in range(folds)]
    stopping = [fused(read_predictions(r, "stopping")).scores(corpus) for r in rounds]
    selection = selection_score(stopping, corpus.valence_variance)
    decided = decide(run, number, folds, config.ensemble)
    return summarise(number, [read_record(r) for r in rounds], selection, decided, corpus)


def selection_score(scores: Sequence[Scores], variance: float) -> float:
    """Mean over folds of ``Scores.selection``, or of Dis for all if one of them has no valence.

    Args:
        variance: of the valences of Train&Val.
    """
    if any(s.dim is None for s in scores):
        return mean(s.dis for s in scores if s.dis is not None)
    return mean(selection(s, variance) for s in scores)


def summarise(
    number: int, records: list[Record], selection: float, decided: Decided, corpus: Corpus
) -> RoundSummary:
    """Scores of decisions, with the sizes of the networks that made them."""
    return RoundSummary(
        number=number,
        records=records,
        selection=selection,
        validation=joined(decided.held_out).scores(corpus),
        by_fold=[part.scores(corpus) for part in decided.held_out],
        test={split: part.scores(corpus) for split, part in by_split(decided.test, corpus).items()},
    )


def chosen_round(config: Config, summaries: Sequence[RoundSummary]) -> RoundSummary:
    """The best on validation; the test sets have no say. Of equals the first.

    ``one_shot`` stands for one size: the round that has it, its last.
    """
    if config.pnao.control == "one_shot":
        return summaries[-1]
    return max(summaries, key=lambda s: s.selection)


def write_results(
    config: Config, run: RunDirectory, corpus: Corpus, summaries: Sequence[RoundSummary]
) -> None:
    """The files of a finished cross-validation."""
    best = chosen_round(config, summaries)
    folds = len(best.records)
    decided = decide(run, best.number, folds, config.ensemble)
    networks = {
        Share(f"fold_{f}", f, 1 / folds, 1 / folds): run.round(f, best.number).network for f in range(folds)
    }
    write_files(config, run, corpus, summaries, decided, networks)


def write_files(
    config: Config,
    run: RunDirectory,
    corpus: Corpus,
    summaries: Sequence[RoundSummary],
    decided: Decided,
    networks: Mapping[Share, Path],
    before: float | None = None,
) -> None:
    """All files of a finished run; ``results.json`` last, because it says that the run is finished.

    Args:
        decided: the chosen round's decisions.
        networks: each network's share in them, and the stem of its files.
        before: the parameters that sizes are a share of; None: those of round 0.
    """
    best = chosen_round(config, summaries)
    full = summaries[0].parameters if before is None else before
    write_text(run.rounds, rounds_csv(summaries, full))
    write_text(run.predictions, predictions_csv(corpus, decided))
    trained = {share: read_network(stem) for share, stem in networks.items()}
    with new_folder(run.model) as folder:
        for share, network in trained.items():
            write_network(folder / share.file, network)
        write_text(folder / FILE, as_json(describe(config, corpus, trained, best.number)))
        write_checksums(folder)
    write_text(run.results, as_json(results_of(config, corpus, summaries, best, full)))


def describe(config: Config, corpus: Corpus, trained: Mapping[Share, Trained], number: int) -> Description:
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
        chosen_by="size" if config.pnao.control == "one_shot" else "validation",
        validation=best.validation,
        test=best.test,
        versions={"mer-lightning": __version__, "python": platform.python_version()}
        | {name: version(name) for name in PACKAGES},
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
        flat |= {f"{part}_{name}": v for part, x in scores.items() for name, v in vars(x).items()}
        rows.append(flat)
    return _csv(list(rows[0]), [list(row.values()) for row in rows])


def predictions_csv(corpus: Corpus, decided: Decided) -> str:
    """One row per utterance: Train&Val out of fold, the test sets by the mean over the folds."""
    header = ["utterance_id", "split", "fold", "group", "emotion", "valence"]
    header += decision_header(corpus.classes, decided.voices)
    parts = {str(fold): part for fold, part in enumerate(decided.held_out)} | {"": decided.test}
    rows = [row for fold, part in parts.items() for row in _prediction_rows(part, corpus, fold)]
    rows.sort(key=lambda row: row[0])
    return _csv(header, [row[1:] for row in rows])


def _prediction_rows(part: Fused, corpus: Corpus, fold: str) -> list[list[Any]]:
    """Rows of predictions.csv, each with its index in the corpus before it."""
    rows = []
    for i, row in enumerate(part.rows.tolist()):
        u = corpus.utterances[row]
        truth = [u.id, u.split, fold, u.group, u.emotion, "" if u.valence != u.valence else u.valence]
        emotion = corpus.classes[int(part.posterior[i].argmax())]
        cells = decision_cells(emotion, part.valence[i], part.posterior[i], part.weights[i])
        rows.append([row, *truth, *cells])
    return rows


def decision_header(classes: Sequence[str], voices: Sequence[str]) -> list[str]:
    """The columns of a decision, in every table of decisions."""
    posteriors, weights = [f"posterior_{c}" for c in classes], [f"weight_{v}" for v in voices]
    return ["predicted_emotion", "predicted_valence", *posteriors, *weights]


def decision_cells(
    emotion: str, valence: SupportsFloat | None, posterior: Iterable[Any], weights: Iterable[Any]
) -> list[str]:
    """Its cells: of one utterance, with posterior (C,) and weights (M,); no valence: an empty cell."""
    numbers = [f"{float(x):.6g}" for x in (*posterior, *weights)]
    return [emotion, "" if valence is None else f"{float(valence):.6g}", *numbers]


def _csv(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([header, *rows])
    return text.getvalue()


def splits_line(corpus: Corpus) -> str:
    """How many utterances there are to train on and to test on, in words."""
    tests = sorted({u.split for u in corpus.utterances} - set(TRAIN_SPLITS))
    counts = [f"{len(corpus.rows([t]))} {t}" for t in tests]
    return ", ".join([f"{len(corpus.rows(TRAIN_SPLITS))} Train&Val", *counts])
