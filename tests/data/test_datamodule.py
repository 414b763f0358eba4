"""The batches of a fold, and the statistics they are standardised with."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_class_weight

from mer_lightning.data.corpus import Corpus, Utterance
from mer_lightning.data.datamodule import BatchLoader, FoldData
from mer_lightning.data.standardise import Standardisation, clipped_columns, fit_standardisation
from mer_lightning.errors import UserError

CPU = torch.device("cpu")
N = 50
FOLDS = np.arange(40) % 4


@pytest.fixture
def corpus() -> Corpus:
    rng = np.random.default_rng(0)
    utterances = tuple(
        Utterance(
            f"u{i}", "ab"[i % 2], float(i % 5) if i % 7 else float("nan"), "train" if i < 40 else "test"
        )
        for i in range(N)
    )
    features = {name: rng.normal(3, 5, (N, 4)).astype(np.float32) for name in ("low", "face")}
    return Corpus("made", utterances, features, ("low",), ("face",), ("a", "b"))


def fold_data(corpus: Corpus, fold: int = 1, protocol: str = "paper") -> FoldData:
    return FoldData(corpus, FOLDS, fold, protocol, batch_size=8, seed=0)


def rare(corpus: Corpus) -> Corpus:
    """With emotion b in one of seven utterances, and none in one of five."""
    emotions = ["" if i % 5 == 0 else "b" if i % 7 == 1 else "a" for i in range(N)]
    named = zip(corpus.utterances, emotions, strict=True)
    return replace(corpus, utterances=tuple(u._replace(emotion=e) for u, e in named))


def loader(data: FoldData, seed: int | None = 0, rank: int = 0, ranks: int = 1) -> BatchLoader:
    return BatchLoader(data.table(CPU), data.train_rows, 8, seed, rank, ranks)


def test_statistics_are_those_of_the_training_part_alone(corpus: Corpus) -> None:
    data = fold_data(corpus)
    table = data.table(CPU)
    for name, array in corpus.features.items():
        expected = StandardScaler().fit(array[data.train_rows]).transform(array)
        np.testing.assert_allclose(table.resident[name], expected, atol=1e-5)
    others = {k: v.copy() for k, v in corpus.features.items()}
    for array in others.values():
        array[np.setdiff1d(np.arange(N), data.train_rows)] = 1e6  # held-out and test features must not matter
    changed = fold_data(replace(corpus, features=others)).standardisation
    for name in others:
        assert changed.mean[name].equal(data.standardisation.mean[name])
        assert changed.deviation[name].equal(data.standardisation.deviation[name])


def test_constant_dimensions_become_zero() -> None:
    array = np.full((10, 2), 1e4, dtype=np.float32)
    array[:, 1] = np.arange(10)
    statistics = fit_standardisation({"x": array}, np.arange(8))
    standardised = statistics({"x": torch.from_numpy(array)})["x"]
    assert standardised[:, 0].abs().max() == 0
    assert standardised.isfinite().all()


MISSING = [0, 7, 12, 25, 44]  # of the training part, the held-out part and the test set


def with_missing(corpus: Corpus) -> Corpus:
    face = corpus.features["face"].copy()
    face[MISSING] = np.nan
    return replace(corpus, features=corpus.features | {"face": face})


def test_missing_rows_do_not_count_and_become_zeros(corpus: Corpus) -> None:
    data = fold_data(with_missing(corpus))
    present = np.setdiff1d(data.train_rows, MISSING)
    assert len(present) < len(data.train_rows)
    table = data.table(CPU)
    scaler = StandardScaler().fit(corpus.features["face"][present])
    expected = scaler.transform(corpus.features["face"])
    expected[MISSING] = 0
    np.testing.assert_allclose(table.resident["face"], expected, atol=1e-5)
    assert not table.resident["face"][MISSING].any()
    assert table.resident["low"].equal(fold_data(corpus).table(CPU).resident["low"])


def test_a_set_that_the_training_part_lacks_is_refused(corpus: Corpus) -> None:
    face = corpus.features["face"].copy()
    face[fold_data(corpus).train_rows] = np.nan
    with pytest.raises(UserError, match="'face' is missing for all 30 utterances"):
        fold_data(replace(corpus, features=corpus.features | {"face": face}))


def test_infinity_is_not_taken_for_missing(corpus: Corpus) -> None:
    statistics = fold_data(corpus).standardisation
    z = statistics({"low": torch.tensor([[float("inf"), 1, 2, 3]])})["low"]
    assert z[0, 0] == float("inf")


def test_statistics_survive_a_file(corpus: Corpus) -> None:
    data = fold_data(corpus)
    back = Standardisation.from_tensors(data.standardisation.as_tensors())
    assert all(back.mean[k].equal(v) for k, v in data.standardisation.mean.items())
    assert all(back.deviation[k].equal(v) for k, v in data.standardisation.deviation.items())


@pytest.mark.parametrize("protocol", ["paper", "nested"])
def test_parts_do_not_overlap(corpus: Corpus, protocol: str) -> None:
    data = fold_data(corpus, 3, protocol)
    assert FOLDS[data.held_out_rows].tolist() == [3] * 10
    assert set(FOLDS[data.stopping_rows]) == ({3} if protocol == "paper" else {0})
    assert not set(data.train_rows) & (set(data.held_out_rows) | set(data.stopping_rows))
    assert data.test_rows.tolist() == list(range(40, 50))
    assert len(data.train_rows) == (30 if protocol == "paper" else 20)


def test_an_epoch_has_every_utterance_once_in_an_order_of_its_own(corpus: Corpus) -> None:
    data = fold_data(corpus)
    first = loader(data)
    epochs = [torch.cat([b.features["low"] for b in first]) for _ in range(2)]
    whole = data.table(CPU).resident["low"][data.train_rows]
    for epoch in epochs:
        assert epoch.shape == whole.shape
        assert sorted(map(tuple, epoch.tolist())) == sorted(map(tuple, whole.tolist()))
    assert not epochs[0].equal(epochs[1])
    again = loader(data)
    assert torch.cat([b.features["low"] for b in again]).equal(epochs[0])
    assert torch.cat([b.features["low"] for b in loader(data, seed=None)]).equal(whole)


def test_ranks_share_each_batch_without_repeats(corpus: Corpus) -> None:
    data = fold_data(corpus)
    alone = list(loader(data))
    shares = [list(loader(data, rank=rank, ranks=3)) for rank in range(3)]
    assert len(alone) == len(loader(data)) == 4
    for step, batch in enumerate(alone):
        together = torch.cat([shares[rank][step].features["low"] for rank in range(3)])
        assert sorted(map(tuple, together.tolist())) == sorted(map(tuple, batch.features["low"].tolist()))


@pytest.mark.parametrize("missing", [False, True])
def test_a_memory_map_gives_the_same_batches(corpus: Corpus, tmp_path: Path, missing: bool) -> None:
    mapped = {}
    corpus = with_missing(corpus) if missing else corpus
    for name, array in corpus.features.items():
        np.save(tmp_path / f"{name}.npy", array)
        mapped[name] = np.load(tmp_path / f"{name}.npy", mmap_mode="r")
    resident, lazy = fold_data(corpus), fold_data(replace(corpus, features=mapped))
    assert not lazy.table(CPU).resident
    for one, other in zip(loader(resident), loader(lazy), strict=True):
        for name in corpus.features:
            torch.testing.assert_close(one.features[name], other.features[name])
            assert one.features[name].isfinite().all()
        assert one.emotion.equal(other.emotion)


def test_guessed_labels_stay_in_their_fold(corpus: Corpus) -> None:
    data = fold_data(corpus)
    rows = np.array([41, 44])
    data.learn_from(rows, np.array([0, 1]))
    assert data.train_rows[-2:].tolist() == [41, 44]
    batch = data.table(CPU)[torch.from_numpy(rows)]
    assert batch.emotion.tolist() == [0, 1]
    assert batch.valence.isnan().all()
    assert corpus.emotions[rows].tolist() == [1, 0]
    assert fold_data(corpus).emotion.tolist() == corpus.emotions.tolist()


def test_clip_brings_outliers_back_and_changes_nothing_else():
    x = np.random.default_rng(0).normal(size=(400, 3)).astype(np.float32)
    planted = np.concatenate([x, [[9e3, 0, 0], [0, np.nan, 0]]]).astype(np.float32)
    rows = np.arange(400)
    plain, clipped = (fit_standardisation({"x": planted}, rows, clip) for clip in (None, 2.0))
    z = plain({"x": torch.from_numpy(planted)})["x"]
    assert z[400, 0] > 1000
    back = clipped({"x": torch.from_numpy(planted)})["x"]
    torch.testing.assert_close(back, z.clamp(-2, 2))
    assert back[401].tolist()[1] == 0.0  # a missing value stays the mean
    note = clipped_columns({"x": planted}, clipped)
    beyond = float((z.abs() > 2).float().mean())
    assert f"x {beyond:.2%}, farthest {float(z.abs().max()):,.0f} in column 0" in note
    assert clipped_columns({"x": x}, fit_standardisation({"x": x}, rows, 50.0)) == ""


def test_class_weights_are_balanced_as_in_scikit_learn(corpus: Corpus) -> None:
    data = fold_data(rare(corpus))
    emotion = data.emotion[data.train_rows]
    expected = compute_class_weight("balanced", classes=np.arange(2), y=emotion[emotion >= 0])
    found = data.class_weights.numpy()
    np.testing.assert_allclose(found / found.min(), expected / expected.min(), rtol=1e-6)
    assert found.min() == 1  # so that a batch never weighs less than an utterance
    sampled = FoldData(rare(corpus), FOLDS, 1, "paper", batch_size=8, balanced=True)
    assert sampled.class_weights.tolist() == [1, 1]  # what is drawn is balanced already


def test_balanced_batches_have_all_emotions_alike_and_none_as_often_as_it_is(corpus: Corpus) -> None:
    data = FoldData(rare(corpus), FOLDS, 1, "paper", batch_size=8, balanced=True)
    weights = data._sampling_weights()
    drawn = BatchLoader(data.table(CPU), data.train_rows, 8, 0, weights=weights)
    emotion = torch.cat([batch.emotion for _ in range(300) for batch in drawn]).numpy()
    assert len(emotion) == 300 * len(data.train_rows)
    shares = np.bincount(emotion + 1) / len(emotion)
    unknown = np.mean(data.emotion[data.train_rows] < 0)
    np.testing.assert_allclose(shares, [unknown, (1 - unknown) / 2, (1 - unknown) / 2], atol=0.015)
    again = [BatchLoader(data.table(CPU), data.train_rows, 8, 0, r, 2, weights) for r in (0, 1)]
    both = [torch.cat(parts) for parts in zip(*([b.emotion for b in x] for x in again), strict=True)]
    fresh = BatchLoader(data.table(CPU), data.train_rows, 8, 0, weights=weights)
    for halves, whole in zip(both, fresh, strict=True):  # ranks divide what one process would draw
        assert halves.sort().values.equal(whole.emotion.sort().values)
