import warnings
from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.preprocessing import StandardScaler

from mer_lightning.data.corpus import Corpus
from mer_lightning.data.readers.synthetic import (
    ALIKE,
    CLASSES,
    COUNTS,
    VALENCE_MEAN,
    VALENCE_STD,
    make_synthetic,
)


@pytest.fixture(scope="module")
def small() -> Corpus:
    return make_synthetic("small", seed=0)


@pytest.fixture(scope="module")
def full() -> Corpus:
    return make_synthetic("full", seed=0)


def test_has_the_shape_of_mer2023(small: Corpus, full: Corpus) -> None:
    assert Counter(u.split for u in small.utterances) == {"train": 1200, "test1": 240}
    assert Counter(u.split for u in full.utterances) == {"train": 3373, "test1": 411}
    assert small.levels == ("acoustic_low", "acoustic_mid", "acoustic_high")
    assert small.shared == ("visual_face", "visual_scene")
    assert list(small.dimensions.values()) == [128, 128, 128, 64, 128]
    assert list(full.dimensions.values()) == [1024, 1024, 1024, 1024, 2048]
    assert all(array.dtype == np.float32 and np.isfinite(array).all() for array in full.features.values())
    assert small.synthetic
    assert len({u.id for u in full.utterances}) == 3784


def test_keeps_the_published_label_statistics(full: Corpus) -> None:
    train = [u for u in full.utterances if u.split == "train"]
    counts = Counter(u.emotion for u in train)
    assert [counts[name] for name in CLASSES] == COUNTS.tolist()
    valences = np.array([u.valence for u in train])
    assert np.isnan(valences).sum() == round(0.03 * 3373)
    known = valences[~np.isnan(valences)]
    assert known.min() >= -5
    assert known.max() <= 4.25
    np.testing.assert_array_equal(known * 4, np.round(known * 4))
    for i, name in enumerate(CLASSES):
        of_class = np.array([u.valence for u in train if u.emotion == name])
        assert np.nanmean(of_class) == pytest.approx(VALENCE_MEAN[i], abs=0.25)
        assert np.nanstd(of_class) == pytest.approx(VALENCE_STD[i], abs=0.2)


def test_speakers_have_about_a_dozen_utterances_in_one_split(small: Corpus) -> None:
    splits = {(u.group, u.split) for u in small.utterances}
    assert len(splits) == len({u.group for u in small.utterances})
    assert len(small.utterances) / len(splits) == pytest.approx(12, abs=1)


def test_seed_decides_everything(small: Corpus) -> None:
    again, other = make_synthetic("small", seed=0), make_synthetic("small", seed=1)
    assert [repr(u) for u in again.utterances] == [repr(u) for u in small.utterances]
    assert [repr(u) for u in other.utterances] != [repr(u) for u in small.utterances]
    for name, array in small.features.items():
        np.testing.assert_array_equal(again.features[name], array)
        assert not np.array_equal(other.features[name], array)


def posterior(corpus: Corpus, names: tuple[str, ...]) -> np.ndarray:
    """(n, 6) on test1, of a logistic regression on standardised features."""
    x = np.concatenate([corpus.features[name] for name in names], axis=1)
    train, test = corpus.rows(["train"]), corpus.rows(["test1"])
    x = StandardScaler().fit(x[train]).transform(x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # converged far enough
        model = LogisticRegression(C=0.01, max_iter=50).fit(x[train], corpus.emotions[train])
    return model.predict_proba(x[test])


def test_is_neither_trivial_nor_hopeless_and_gains_from_fusion(small: Corpus) -> None:
    truth = small.emotions[small.rows(["test1"])]
    sets = (*small.levels, *small.shared)
    score = {names: f1_score(truth, posterior(small, names).argmax(1), average="weighted")
             for names in [*((name,) for name in sets), sets]}  # fmt: skip
    assert 0.70 < score.pop(sets) < 0.80
    assert max(score.values()) < 0.62
    assert min(score.values()) > 0.35


def test_levels_are_sure_about_different_utterances(small: Corpus) -> None:
    sure = {name: posterior(small, (name,)).max(axis=1) for name in small.levels}
    correlation = np.corrcoef(np.stack(list(sure.values())))[np.triu_indices(3, 1)]
    assert (correlation > 0.05).all()
    assert (correlation < 0.8).all()


def test_alike_emotions_are_the_closest(small: Corpus) -> None:
    train = small.rows(["train"])
    x, y = np.concatenate(list(small.features.values()), axis=1)[train], small.emotions[train]
    x = StandardScaler().fit_transform(x)
    means = np.stack([x[y == i].mean(axis=0) for i in range(6)])
    by_chance = np.stack([x[y == i].var(axis=0).sum() / (y == i).sum() for i in range(6)])
    distance = {
        (CLASSES[i], CLASSES[j]): ((means[i] - means[j]) ** 2).sum() - by_chance[i] - by_chance[j]
        for i, j in combinations(range(6), 2)
    }
    closest = sorted(distance, key=distance.__getitem__)[:3]
    assert {frozenset(pair) for pair in closest} == {frozenset(pair) for pair in ALIKE}
