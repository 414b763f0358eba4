"""From the rounds in the run directory to its figures: results.json, rounds.csv, predictions.csv, model/."""

import csv
import io
import json
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from statistics import mean
from typing import Any

import torch
from torch import Tensor

from mer_lightning import __version__
from mer_lightning.config import Config
from mer_lightning.data.corpus import TRAIN_SPLITS, Corpus
from mer_lightning.metrics import Scores, score
from mer_lightning.network.checkpoint import read_network, write_network
from mer_lightning.pnao.outcome import Predictions, Record, read_predictions, read_record
from mer_lightning.predict import average_log_posteriors, describe_model
from mer_lightning.run_directory import RunDirectory, new_folder, write_text

PACKAGES = ("torch", "lightning", "hydra-core", "torchmetrics", "numpy", "scikit-learn")


@dataclass(frozen=True)
class Fused:
    """Fused predictions for R utterances of the corpus: of a fold's network, or the mean over folds."""

    rows: Tensor  # (R,) indices into the corpus
    posterior: Tensor  # (R, C)
    valence: Tensor  # (R,)
    weights: Tensor  # (R, M)

    def scores(self, corpus: Corpus) -> Scores:
        """Against the corpus's labels."""
        emotion = torch.from_numpy(corpus.emotions)[self.rows]
        return score(self.posterior, self.valence, emotion, torch.from_numpy(corpus.valences)[self.rows])


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


def out_of_fold(parts: Sequence[Predictions]) -> Fused:
    """The held-out predictions of all folds, one after the other."""
    return Fused(
        torch.cat([p.rows for p in parts]),
        torch.cat([p.log_posterior for p in parts]).exp(),
        torch.cat([p.valence for p in parts]),
        torch.cat([p.weights for p in parts]),
    )


def mean_over_folds(parts: Sequence[Predictions], ensemble: str) -> Fused:
    """The mean of the folds' predictions for the same utterances."""
    return Fused(
        parts[0].rows,
        average_log_posteriors(torch.stack([p.log_posterior for p in parts]), ensemble),
        torch.stack([p.valence for p in parts]).mean(dim=0),
        torch.stack([p.weights for p in parts]).mean(dim=0),
    )


def test_predictions(run: RunDirectory, number: int, folds: int, ensemble: str) -> Fused:
    """Predictions of a round for the test sets: the mean over the folds' networks."""
    return mean_over_folds([read_predictions(run.round(f, number), "test") for f in range(folds)], ensemble)


def held_out_predictions(run: RunDirectory, number: int, folds: int) -> Fused:
    """Out-of-fold predictions of a round for Train&Val."""
    return out_of_fold([read_predictions(run.round(f, number), "held_out") for f in range(folds)])


def summarise_round(
    config: Config, run: RunDirectory, corpus: Corpus, folds: int, number: int
) -> RoundSummary:
    """Scores and sizes of a round that every fold has finished."""
    held_out = [out_of_fold([read_predictions(run.round(f, number), "held_out")]) for f in range(folds)]
    stopping = [out_of_fold([read_predictions(run.round(f, number), "stopping")]) for f in range(folds)]
    test = test_predictions(run, number, folds, config.ensemble)
    return RoundSummary(
        number=number,
        records=[read_record(run.round(f, number)) for f in range(folds)],
        selection=mean(part.scores(corpus).monitored for part in stopping),
        validation=held_out_predictions(run, number, folds).scores(corpus),
        by_fold=[part.scores(corpus) for part in held_out],
        test={split: part.scores(corpus) for split, part in by_split(test, corpus).items()},
    )


def by_split(fused: Fused, corpus: Corpus) -> dict[str, Fused]:
    """Test set -> its share of the predictions."""
    splits = [corpus.utterances[int(row)].split for row in fused.rows]
    parts = {}
    for split in sorted(set(splits)):
        here = torch.tensor([s == split for s in splits])
        parts[split] = Fused(*(tensor[here] for tensor in vars(fused).values()))
    return parts


def chosen_round(summaries: Sequence[RoundSummary]) -> RoundSummary:
    """The best on validation; the test sets have no say. Of equals the first."""
    return max(summaries, key=lambda s: s.selection)


def write_results(
    config: Config, run: RunDirectory, corpus: Corpus, summaries: Sequence[RoundSummary]
) -> None:
    """All files of a finished run; ``results.json`` last, because it says that the run is finished."""
    best = chosen_round(summaries)
    folds = len(best.records)
    write_text(run.rounds, rounds_csv(summaries))
    write_text(run.predictions, predictions_csv(config, run, corpus, best.number, folds))
    with new_folder(run.model) as folder:
        for fold in range(folds):
            write_network(folder / f"fold_{fold}", read_network(run.round(fold, best.number).network))
        origin = {"experiment": config.experiment_name, "data": corpus.name, "round": best.number}
        describe_model(folder, corpus.classes, folds, config.ensemble, origin)
    results = results_json(config, corpus, summaries, best)
    write_text(run.results, json.dumps(results, indent=1, ensure_ascii=False) + "\n")


def results_json(
    config: Config, corpus: Corpus, summaries: Sequence[RoundSummary], best: RoundSummary
) -> dict[str, Any]:
    """The content of results.json."""
    dimensions = corpus.dimensions
    splits = [u.split for u in corpus.utterances]
    full = summaries[0].parameters
    return {
        "schema": 1,
        "experiment": config.experiment_name,
        "seed": config.seed,
        "folds": len(best.records),
        "protocol": config.protocol,
        "data": {
            "name": corpus.name,
            "synthetic": corpus.synthetic,
            "classes": list(corpus.classes),
            "levels": {name: dimensions[name] for name in corpus.levels},
            "shared": {name: dimensions[name] for name in corpus.shared},
            "n": {split: splits.count(split) for split in sorted(set(splits))},
        },
        "rounds": [_round_json(s, full) for s in summaries],
        "best_round": best.number,
        "validation": best.validation._asdict(),
        "test": {split: scores._asdict() for split, scores in best.test.items()},
        "versions": {"mer-lightning": __version__, "python": platform.python_version()}
        | {name: version(name) for name in PACKAGES},
        "seconds": round(sum(r.seconds for s in summaries for r in s.records), 2),
    }


def _round_json(summary: RoundSummary, full: float) -> dict[str, Any]:
    records = summary.records
    return {
        "round": summary.number,
        "parameters": round(summary.parameters),
        "parameters_ratio": summary.parameters / full,
        "nodes": round(mean(r.nodes for r in records)),
        "macs": round(mean(r.macs for r in records)),
        "seconds": round(sum(r.seconds for r in records), 2),
        "epochs": [r.epochs for r in records],
        "selection": summary.selection,
        "validation": summary.validation._asdict(),
        "by_fold": [scores._asdict() for scores in summary.by_fold],
        "test": {split: scores._asdict() for split, scores in summary.test.items()},
        "compact_error": max(r.compact_error for r in records),
        "notes": [f"fold {r.fold}: {note}" for r in records for note in r.notes],
    }


def rounds_csv(summaries: Sequence[RoundSummary]) -> str:
    """One row per round."""
    rows = []
    for s in summaries:
        row = _round_json(s, summaries[0].parameters)
        flat = {k: v for k, v in row.items() if k not in ("validation", "by_fold", "test", "notes", "epochs")}
        flat["epochs"] = " ".join(map(str, row["epochs"]))
        scores = {"validation": s.validation} | {f"test_{split}": x for split, x in s.test.items()}
        flat |= {f"{part}_{name}": v for part, x in scores.items() for name, v in x._asdict().items()}
        rows.append(flat)
    return _csv(list(rows[0]), [list(row.values()) for row in rows])


def predictions_csv(config: Config, run: RunDirectory, corpus: Corpus, number: int, folds: int) -> str:
    """One row per utterance: Train&Val out of fold, the test sets by the mean over the folds."""
    header = ["utterance_id", "split", "fold", "emotion", "valence", "predicted_emotion", "predicted_valence"]
    header += [f"posterior_{name}" for name in corpus.classes]
    header += [f"weight_{name}" for name in corpus.levels]
    rows = []
    for fold in range(folds):
        part = out_of_fold([read_predictions(run.round(fold, number), "held_out")])
        rows += _prediction_rows(part, corpus, str(fold))
    rows += _prediction_rows(test_predictions(run, number, folds, config.ensemble), corpus, "")
    rows.sort(key=lambda row: row[0])
    return _csv(header, [row[1:] for row in rows])


def _prediction_rows(part: Fused, corpus: Corpus, fold: str) -> list[list[Any]]:
    """Rows of predictions.csv, each with its index in the corpus before it."""
    rows = []
    for i, row in enumerate(part.rows.tolist()):
        u = corpus.utterances[row]
        truth = [u.id, u.split, fold, u.emotion, "" if u.valence != u.valence else u.valence]
        emotion = corpus.classes[int(part.posterior[i].argmax())]
        numbers = [part.valence[i], *part.posterior[i], *part.weights[i]]
        rows.append([row, *truth, emotion, *(f"{float(x):.6g}" for x in numbers)])
    return rows


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
