"""All scores of decisions on a part: those of training, and what scikit-learn and its like compute beside."""

import warnings
from collections.abc import Sequence
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mer_lightning.data.corpus import TRAIN_SPLITS, Corpus
from mer_lightning.files.recorded import AllScores, Spread
from mer_lightning.model.decisions import RowDecisions

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def training_means(
    held_out: Sequence[RowDecisions], stopping: Sequence[RowDecisions], corpus: Corpus
) -> list[float]:
    """The mean valence of each fold's training part, NaN without any: the constant that a network must beat.

    The training part is what of Train&Val is neither held out nor stops the training.
    """
    trainval, found = corpus.rows(TRAIN_SPLITS), []
    for scored, stopped in zip(held_out, stopping, strict=True):
        rows = np.setdiff1d(trainval, np.concatenate([scored.rows.numpy(), stopped.rows.numpy()]))
        known = corpus.valences[rows].astype(np.float64)
        known = known[np.isfinite(known)]
        found.append(float(known.mean()) if len(known) else float("nan"))
    return found


def all_scores(part: RowDecisions, corpus: Corpus, constant: Floats | float) -> AllScores:
    """Every score of decisions on R utterances.

    Args:
        constant: (R,), or one for all: the valence that ``skill`` compares with; NaN: there is none.
    """
    rows = part.rows.numpy()
    valence = corpus.valences[rows].astype(np.float64)
    known = np.isfinite(valence)
    constants = np.broadcast_to(np.asarray(constant, dtype=np.float64), valence.shape)[known]
    predicted = part.decision.posterior.argmax(dim=-1).numpy()
    f1, recall = class_tables(corpus.emotions[rows], predicted, corpus.classes)
    of_valence = valence_scores(valence[known], part.decision.valence.double().numpy()[known], constants)
    return AllScores(**vars(part.scores(corpus)), **of_valence, f1=f1, recall=recall)


def class_tables(
    emotion: Ints, predicted: Ints, classes: Sequence[str]
) -> tuple[dict[str, float], dict[str, float]]:
    """F1 and recall of each class; (R,) true classes, -1 where not known, and (R,) predicted ones."""
    from sklearn.metrics import f1_score, recall_score  # late: it takes a second

    known = emotion >= 0
    if not known.any():
        return {}, {}
    pair = emotion[known], predicted[known]
    seen, occurring = np.unique(np.concatenate(pair)), np.unique(pair[0])
    f1 = f1_score(*pair, labels=seen, average=None, zero_division=0)
    recall = recall_score(*pair, labels=occurring, average=None, zero_division=0)
    tables = (zip(seen, f1, strict=True), zip(occurring, recall, strict=True))
    of_f1, of_recall = ({classes[c]: float(x) for c, x in table} for table in tables)
    return of_f1, of_recall


def valence_scores(valence: Floats, predicted: Floats, constant: Floats) -> dict[str, float | None]:
    """(R,) known valences, predicted ones and the constant's -> mae, ccc, pearson, skill.

    None where they are not defined: correlations of one utterance or of equal values, for one. The CCC is
    torchmetrics', with variances over R - 1.
    """
    if not len(valence):
        return dict.fromkeys(("mae", "ccc", "pearson", "skill"))
    from scipy.stats import pearsonr
    from sklearn.metrics import mean_absolute_error
    from torchmetrics.functional import concordance_corrcoef

    vary = len(valence) > 1 and bool(np.ptp(valence)) and bool(np.ptp(predicted))
    error, that = np.mean((predicted - valence) ** 2), np.mean((constant - valence) ** 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nearly equal predictions
        found: dict[str, Any] = {
            "mae": mean_absolute_error(valence, predicted),
            "ccc": concordance_corrcoef(torch.tensor(predicted), torch.tensor(valence)) if vary else None,
            "pearson": pearsonr(valence, predicted).statistic if vary else None,
            "skill": 1 - error / that if that > 0 else None,
        }
    return {k: float(x) if x is not None and np.isfinite(float(x)) else None for k, x in found.items()}


def spreads(scores: Sequence[AllScores]) -> dict[str, Spread]:
    """Score -> its mean and spread over two networks or more, for scores that all of them have."""
    table = [s.flat() for s in scores]
    columns = {name: [row.get(name) for row in table] for name in table[0]}
    known = {name: [x for x in values if x is not None] for name, values in columns.items()}
    return {name: Spread(mean(x), stdev(x)) for name, x in known.items() if len(x) == len(scores)}
