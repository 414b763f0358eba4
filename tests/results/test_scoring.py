"""All scores against scikit-learn, scipy and formulas of the books, on random labels with missing ones."""

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    f1_score,
    mean_absolute_error,
    mean_squared_error,
    r2_score,
)

from mer_lightning.config.groups import MONITORS
from mer_lightning.data.corpus import Corpus, Utterance
from mer_lightning.files.recorded import AllScores
from mer_lightning.model.base import Decision
from mer_lightning.model.decisions import RowDecisions
from mer_lightning.model.metrics import selection
from mer_lightning.results.choice import part_sums, selections
from mer_lightning.results.scoring import all_scores, spreads, training_means
from mer_lightning.results.sums import Sums

CLASSES = ("angry", "happy", "sad", "scared", "unseen")  # the last never occurs
N = 300


def corpus_of(emotions: np.ndarray, valences: np.ndarray) -> Corpus:
    names = (*CLASSES, "")
    rows = zip(emotions, valences, strict=True)
    utterances = tuple(
        Utterance(f"u{i}", names[e], float(v), "train" if i < 200 else "test")
        for i, (e, v) in enumerate(rows)
    )
    features = {"a": np.zeros((len(utterances), 1))}
    return Corpus("made", utterances, features, ("a",), (), CLASSES)


def decided(rows: np.ndarray, predicted: np.ndarray, valence: np.ndarray) -> RowDecisions:
    log_posterior = torch.nn.functional.one_hot(torch.from_numpy(predicted), len(CLASSES)).float().sub(1) * 9
    nothing = torch.zeros(len(rows), 0)
    decision = Decision(log_posterior, torch.from_numpy(valence).float(), nothing, nothing, nothing)
    return RowDecisions(torch.from_numpy(rows), decision)


@pytest.fixture(params=range(3))
def case(request: pytest.FixtureRequest) -> tuple[Corpus, RowDecisions, np.ndarray, np.ndarray]:
    """A corpus, decisions on all of it, the predicted emotions and valences."""
    rng = np.random.default_rng(request.param)
    emotions, valences = rng.integers(0, 4, N), rng.normal(0.3, 1.5, N)
    predicted = np.where(rng.random(N) < 0.5, emotions, rng.integers(0, 5 - request.param, N))
    predicted[predicted == 3] = 1  # scared is never recognised
    valence = 0.6 * valences + rng.normal(0.2, 0.8, N)
    emotions[rng.random(N) < 0.2], valences[rng.random(N) < 0.3] = -1, np.nan
    return corpus_of(emotions, valences), decided(np.arange(N), predicted, valence), predicted, valence


def test_every_score_agrees_with_scikit_learn(
    case: tuple[Corpus, RowDecisions, np.ndarray, np.ndarray],
) -> None:
    corpus, part, predicted, valence = case
    known, labelled = corpus.emotions >= 0, np.isfinite(corpus.valences)
    truth, guess = corpus.emotions[known], predicted[known]
    target, told = corpus.valences[labelled], valence[labelled]
    constant = float(target.mean())
    found = all_scores(part, corpus, constant)
    assert found.dis == pytest.approx(f1_score(truth, guess, average="weighted"))
    assert found.macro_f1 == pytest.approx(f1_score(truth, guess, average="macro"))
    with pytest.warns() if set(guess) - set(truth) else np.errstate():
        assert found.uar == pytest.approx(balanced_accuracy_score(truth, guess))
    assert found.accuracy == pytest.approx(accuracy_score(truth, guess))
    each = f1_score(truth, guess, average=None, labels=range(5), zero_division=np.nan)
    expected = {name: x for name, x in zip(CLASSES, each, strict=True) if not np.isnan(x)}
    assert found.f1 == pytest.approx(expected)
    assert np.mean(list(found.f1.values())) == pytest.approx(found.macro_f1)
    assert set(found.recall) == set(CLASSES[:4])
    assert np.mean(list(found.recall.values())) == pytest.approx(found.uar)
    assert found.recall["scared"] == found.f1["scared"] == 0
    assert found.dim == pytest.approx(mean_squared_error(target, told), rel=1e-5)
    assert found.mae == pytest.approx(mean_absolute_error(target, told), rel=1e-5)
    assert found.pearson == pytest.approx(pearsonr(target, told).statistic, rel=1e-5)
    assert found.skill == pytest.approx(r2_score(target, told), rel=1e-5)  # against this part's own mean
    covariance = np.cov(told, target)
    lin = 2 * covariance[0, 1] / (np.trace(covariance) + (told.mean() - target.mean()) ** 2)
    assert found.ccc == pytest.approx(lin, rel=1e-5)


def test_skill_is_against_the_mean_of_each_folds_training_part() -> None:
    valences = np.arange(300.0)
    valences[5] = np.nan
    corpus = corpus_of(np.zeros(300, dtype=int), valences)
    rows = [np.arange(0, 100), np.arange(100, 200)]
    held_out = [decided(r, np.zeros(100, dtype=int), np.full(100, 1.0)) for r in rows]
    first, second = training_means(held_out, held_out, corpus)
    assert (first, second) == (np.mean(np.arange(100, 200)), pytest.approx(np.nanmean(valences[:100])))
    assert np.isnan(training_means(held_out, held_out[::-1], corpus)).all()  # nothing is left to train on
    as_good = decided(rows[0], np.zeros(100, dtype=int), np.full(100, first))
    assert all_scores(as_good, corpus, first).skill == pytest.approx(0)
    perfect = decided(rows[1], np.zeros(100, dtype=int), valences[rows[1]])
    assert all_scores(perfect, corpus, second).skill == 1


def test_what_labels_do_not_say_is_none() -> None:
    corpus = corpus_of(np.full(4, -1), np.full(4, np.nan))
    part = decided(np.arange(4), np.zeros(4, dtype=int), np.ones(4))
    found = all_scores(part, corpus, float("nan"))
    assert set(found.flat().values()) == {None}
    one = corpus_of(np.array([1, -1, -1, -1]), np.array([0.5, np.nan, np.nan, np.nan]))
    alone = all_scores(part, one, float("nan"))
    assert (alone.mae, alone.ccc, alone.pearson, alone.skill) == (0.5, None, None, None)
    assert alone.f1 == {"angry": 0, "happy": 0}
    assert alone.recall == {"happy": 0}


@pytest.mark.parametrize("monitor", MONITORS)
def test_training_and_the_bootstrap_select_by_the_same_score(
    case: tuple[Corpus, RowDecisions, np.ndarray, np.ndarray], monitor: str
) -> None:
    corpus, part, _, _ = case
    total = Sums(*(s.sum(axis=0) for s in part_sums(part, corpus)))
    scores = part.scores(corpus)
    variance = corpus.valence_variance
    found = selections(total, variance, with_valence=True, monitor=monitor)
    assert selection(scores, variance, monitor) == pytest.approx(float(found), rel=1e-5)
    if monitor != "score":
        sign = -1 if monitor == "dim" else 1
        assert selection(scores, variance, monitor) == sign * getattr(scores, monitor)


def test_spreads_are_over_the_networks() -> None:
    table = [AllScores(x, None, None, x, x, x, None, None, None, None, {"a": x}, {}) for x in (0.2, 0.4, 0.9)]
    found = spreads(table)
    assert found["dis"].mean == pytest.approx(0.5)
    assert found["f1_a"].deviation == pytest.approx(np.std([0.2, 0.4, 0.9], ddof=1))
    assert "dim" not in found
