"""Decisions as users get them: arrays, names of emotions, and the columns of CSV files."""

import csv
import io
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mer_lightning.data.corpus import Corpus
from mer_lightning.model.base import Decision
from mer_lightning.model.decisions import RowDecisions, in_order


class Prediction(NamedTuple):
    """Predictions for B utterances by M branches over C emotions."""

    emotion: list[str]
    posterior: NDArray[np.float32]  # (B, C)
    valence: NDArray[np.float32]  # (B,)
    weights: NDArray[np.float32]  # (B, M)

    @classmethod
    def of(cls, decision: Decision, classes: Sequence[str]) -> "Prediction":
        """A decision in these terms."""
        posterior = decision.posterior
        emotion = [classes[i] for i in posterior.argmax(dim=-1).tolist()]
        return cls(emotion, posterior.numpy(), decision.valence.numpy(), decision.weights.numpy())

    def rows(self, has_valence: bool = True) -> Iterator[list[str]]:
        """Each utterance's cells under ``header``; without valence, an empty cell."""
        arrays = (array.tolist() for array in self[1:])
        for emotion, posterior, valence, weights in zip(self.emotion, *arrays, strict=True):
            numbers = [f"{x:.6g}" for x in (valence, *posterior, *weights)]
            yield [emotion, numbers[0] if has_valence else "", *numbers[1:]]


def header(classes: Sequence[str], branch_names: Sequence[str]) -> list[str]:
    """The columns of a prediction, in every table of predictions."""
    posteriors, weights = [f"posterior_{c}" for c in classes], [f"weight_{b}" for b in branch_names]
    return ["predicted_emotion", "predicted_valence", *posteriors, *weights]


def predictions_csv(
    corpus: Corpus, parts: Sequence[RowDecisions], branch_names: Sequence[str], has_valence: bool
) -> str:
    """One row per utterance: Train&Val out of fold, the test sets by the mean over the folds.

    has_valence: whether valences were learnt; else their column is empty.
    """
    names = ["utterance_id", "split", "fold", "group", "emotion", "valence"]
    names += header(corpus.classes, branch_names)
    predicted = Prediction.of(in_order(parts), corpus.classes).rows(has_valence)
    fold = {row: number for number, part in enumerate(parts[:-1]) for row in part.rows.tolist()}
    rows = []
    for row, (u, cells) in enumerate(zip(corpus.utterances, predicted, strict=True)):
        valence = "" if math.isnan(u.valence) else u.valence
        rows.append([u.id, u.split, fold.get(row, ""), u.group, u.emotion, valence, *cells])
    return csv_text(names, rows)


def csv_text(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table as text."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([names, *rows])
    return text.getvalue()
