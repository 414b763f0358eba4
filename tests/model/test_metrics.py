"""Dis, Dim and Com against scikit-learn."""

import pytest
import torch
from sklearn.metrics import f1_score, mean_squared_error

from mer_lightning.model.metrics import MER_VARIANCE, EmotionMetrics, in_units, score, selection, weighted_f1

NAN = float("nan")


def sample(n: int, c: int) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(n)
    posterior = torch.rand(n, c, generator=generator).softmax(-1)
    emotion = torch.randint(0, c - 1, (n,), generator=generator)  # the last class never occurs
    return posterior, torch.randn(n, generator=generator), emotion, torch.randn(n, generator=generator)


def test_scores_agree_with_scikit_learn_over_batches() -> None:
    posterior, valence, emotion, target = sample(200, 6)
    target[::7] = NAN
    emotion[::5] = -1
    metrics = EmotionMetrics(6)
    for part in torch.arange(200).split(33):
        metrics.update(posterior[part], valence[part], emotion[part], target[part])
    known, labelled = emotion >= 0, ~target.isnan()
    dis = f1_score(emotion[known], posterior[known].argmax(1), average="weighted")
    dim = mean_squared_error(target[labelled], valence[labelled])
    result = metrics.compute()
    assert result["dis"].item() == pytest.approx(dis)
    assert result["dim"].item() == pytest.approx(dim)
    assert result["com"].item() == pytest.approx(dis - 0.25 * dim)


def test_many_confusions_at_once_give_each_ones_weighted_f1() -> None:
    truth, predicted = torch.randint(0, 4, (2, 6, 30))
    counts = torch.stack(
        [torch.bincount(4 * t + p, minlength=16) for t, p in zip(truth, predicted, strict=True)]
    )
    found = weighted_f1(counts.view(2, 3, 4, 4)).flatten()
    expected = [f1_score(t, p, average="weighted") for t, p in zip(truth, predicted, strict=True)]
    assert found.tolist() == pytest.approx(expected)


def test_without_valence_there_is_no_dim_and_no_com() -> None:
    posterior, valence, emotion, _ = sample(20, 3)
    scores = score(posterior, valence, emotion, torch.full((20,), NAN))
    assert scores.dim is None
    assert scores.com is None
    assert selection(scores, variance=2.0) == scores.dis


def test_the_score_that_chooses_does_not_depend_on_the_units_of_valence() -> None:
    posterior, valence, emotion, target = sample(50, 3)
    variance = float(target[~target.isnan()].var())
    one = score(posterior, valence, emotion, target)
    other = score(posterior, 10 * valence + 3, emotion, 10 * target + 3)
    assert one.com is not None
    assert selection(one, variance) == pytest.approx(selection(other, 100 * variance), abs=1e-5)
    assert selection(one, MER_VARIANCE) == pytest.approx(one.com)  # on MER 2023 it is Com
    assert vars(in_units(one, 10)) == pytest.approx(vars(other), abs=1e-4)


def test_without_any_label_there_is_no_score() -> None:
    posterior, valence, _, _ = sample(4, 3)
    scores = score(posterior, valence, torch.full((4,), -1), torch.full((4,), NAN))
    assert set(vars(scores).values()) == {None}
    with pytest.raises(ValueError, match="no labels"):
        selection(scores, variance=1.0)


def test_sums_of_two_processes_add_up() -> None:
    """What a distributed reduction does: add the states."""
    data = sample(101, 4)
    halves = [EmotionMetrics(4), EmotionMetrics(4)]
    for part, metrics in zip((slice(0, 60), slice(60, None)), halves, strict=True):
        metrics.update(*(x[part] for x in data))
    whole = EmotionMetrics(4)
    whole.update(*data)
    for state in ("confusion", "squared_error", "valences"):
        added = getattr(halves[0], state) + getattr(halves[1], state)
        torch.testing.assert_close(added, getattr(whole, state))
