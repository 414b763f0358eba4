"""Which round a run stands for."""

from typing import NamedTuple

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score

from mer_lightning.data.corpus import Corpus
from mer_lightning.data.readers.registry import read_corpus
from mer_lightning.model.base import Decision
from mer_lightning.model.decisions import RowDecisions
from mer_lightning.results import choice
from mer_lightning.results.choice import part_sums, redrawn, selection_error, smallest_within_error
from tests.conftest import composed


class Round(NamedTuple):
    selection: float
    error: float
    parameters: float


@pytest.mark.parametrize(
    ("rounds", "chosen"),
    [
        ([Round(0.70, 0.02, 100), Round(0.71, 0.02, 80), Round(0.695, 0.5, 60), Round(0.68, 0.02, 40)], 2),
        ([Round(0.70, 0.0, 100), Round(0.69, 0.0, 50)], 0),  # no doubt at all: the best
        ([Round(0.70, 0.02, 100), Round(0.69, 0.02, 100), Round(0.71, 0.02, 100)], 2),  # of one size the best
        ([Round(0.70, 0.02, 100), Round(0.70, 0.02, 100)], 0),  # of equals the first
    ],
)
def test_the_smallest_within_one_standard_error_of_the_best(rounds: list[Round], chosen: int) -> None:
    assert smallest_within_error(rounds) is rounds[chosen]


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return read_corpus(composed().data)


def guessing(rows: np.ndarray, right: np.ndarray, corpus: Corpus) -> RowDecisions:
    """Decisions that hit where ``right`` says so, and know the valence."""
    classes = len(corpus.classes)
    emotion = np.where(right, corpus.emotions[rows], (corpus.emotions[rows] + 1) % classes)
    log_posterior = torch.full((len(rows), classes), -9.0)
    log_posterior[torch.arange(len(rows)), torch.from_numpy(emotion)] = 0.0
    valence = torch.from_numpy(np.nan_to_num(corpus.valences[rows]))
    nothing = torch.zeros(len(rows), 0)
    return RowDecisions(torch.from_numpy(rows), Decision(log_posterior, valence, nothing, nothing, nothing))


def test_the_error_is_that_of_fresh_speakers(corpus: Corpus) -> None:
    """Hits that hang on the speaker vary more than hits spread evenly."""
    rows = np.arange(600)
    rng = np.random.default_rng(0)
    groups = [corpus.utterances[row].group for row in rows]
    lucky = {g: rng.random() < 0.5 for g in sorted(set(groups))}
    by_speaker = selection_error([guessing(rows, np.array([lucky[g] for g in groups]), corpus)], corpus)
    evenly = selection_error([guessing(rows, rng.random(len(rows)) < 0.5, corpus)], corpus)
    assert by_speaker > 2 * evenly
    sample = guessing(rows, rng.random(len(rows)) < 0.5, corpus)
    assert selection_error([sample], corpus) == selection_error([sample], corpus)  # the same on every machine
    perfect = guessing(rows, np.ones(len(rows), dtype=bool), corpus)
    assert selection_error([perfect], corpus) < by_speaker


def test_one_speaker_a_fold_leaves_the_spread_of_the_folds(corpus: Corpus) -> None:
    rng = np.random.default_rng(0)
    groups = np.array([u.group for u in corpus.utterances])
    speakers = [rows for g in sorted({*groups[:600]}) if len(rows := np.flatnonzero(groups[:600] == g))]
    right = rng.random(600) < rng.random(600)
    out = [guessing(rows, right[rows], corpus) for rows in speakers]
    scores = [weighted_f1(part, corpus) for part in out]
    expected = np.std(scores, ddof=1) / np.sqrt(len(scores))
    assert selection_error(out, corpus, "dis") == pytest.approx(expected)
    assert expected > 0.001


def weighted_f1(part: RowDecisions, corpus: Corpus) -> float:
    """Weighted F1 by scikit-learn."""
    truth = corpus.emotions[part.rows.numpy()]
    predicted = part.decision.log_posterior.argmax(dim=-1).numpy()
    return float(f1_score(truth[truth >= 0], predicted[truth >= 0], average="weighted"))


def test_what_does_not_fit_in_memory_is_drawn_in_blocks(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = np.arange(600)
    sums = part_sums(guessing(rows, rows % 3 > 0, corpus), corpus)
    whole = redrawn(sums, np.random.default_rng(0))
    monkeypatch.setattr(choice, "AT_ONCE", 70 * len(sums.error))
    for all_at_once, in_blocks in zip(whole, redrawn(sums, np.random.default_rng(0)), strict=True):
        np.testing.assert_allclose(in_blocks, all_at_once)
