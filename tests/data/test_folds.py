import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from mer_lightning.data.corpus import Corpus, Utterance
from mer_lightning.data.datamodule import FoldData
from mer_lightning.data.folds import (
    check_folds,
    check_groups,
    draw_folds,
    fold_parts,
    read_folds,
    straddling,
    write_folds,
)
from mer_lightning.data.readers.folder import read_folder
from mer_lightning.data.readers.synthetic import make_synthetic
from mer_lightning.errors import UserError
from tests.conftest import composed
from tests.data.helpers import RAVDESS, data_config, needs_ravdess, small_corpus


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return make_synthetic("small", seed=3)


def trainval(corpus: Corpus) -> list[Utterance]:
    return [u for u in corpus.utterances if u.split in ("train", "val")]


def made(*emotions: str, groups: str = "", folds: tuple[int, ...] = ()) -> Corpus:
    return small_corpus(
        [
            Utterance(f"u{i}", e, group=groups[i] if groups else "", fold=folds[i] if folds else -1)
            for i, e in enumerate(emotions)
        ]
    )


def test_no_speaker_straddles_two_folds(corpus: Corpus) -> None:
    folds = draw_folds(corpus, 5, seed=0)
    pairs = {(u.group, fold) for u, fold in zip(trainval(corpus), folds, strict=True)}
    assert len(pairs) == len({u.group for u in trainval(corpus)})


@pytest.mark.parametrize("known", [True, False])
def test_emotions_and_sizes_are_balanced(corpus: Corpus, known: bool) -> None:
    if not known:
        corpus = small_corpus([u._replace(group="") for u in corpus.utterances])
    folds = draw_folds(corpus, 5, seed=0)
    emotions = np.array([u.emotion for u in trainval(corpus)])
    assert set(folds) == set(range(5))
    tolerance = 12 if known else 1.0
    for name in set(emotions):
        shares = np.bincount(folds[emotions == name], minlength=5)
        assert np.abs(shares - shares.mean()).max() <= tolerance, name
    assert np.abs(np.bincount(folds) - len(folds) / 5).max() <= tolerance * 2


def test_unknown_speakers_are_said_where_folds_are_drawn(corpus: Corpus) -> None:
    unknown = small_corpus([u._replace(group="") for u in corpus.utterances])
    folds = draw_folds(corpus, 5, seed=0)
    (said,) = check_groups(unknown, folds, composed().data)
    assert "data.group" in said
    assert check_groups(corpus, folds, composed().data) == []
    assert check_groups(unknown, folds, composed("data.group=''").data) == []  # it is meant
    assert check_groups(unknown, folds, composed("data.folds=column").data) == []


def test_folds_of_the_labels_that_divide_a_speaker_are_said() -> None:
    config = composed("data.folds=column").data
    apart = made(*"ababab", groups="xyxyzz", folds=(0, 1, 1, 1, 0, 0))
    (said,) = check_groups(apart, draw_folds(apart, "column", seed=0), config)
    assert "1 of 3 of column speaker are in several folds (x, for example)" in said
    assert straddling(["", ""], np.array([0, 1])) == []  # unknown speakers are not one
    together = made(*"ababab", groups="xyxyzz", folds=(0, 1, 0, 1, 0, 0))
    assert check_groups(together, draw_folds(together, "column", seed=0), config) == []


def test_the_seed_decides(corpus: Corpus) -> None:
    folds = draw_folds(corpus, 5, seed=0)
    np.testing.assert_array_equal(draw_folds(corpus, 5, seed=0), folds)
    assert (draw_folds(corpus, 5, seed=1) != folds).mean() > 0.5


def test_unknown_emotions_are_spread_and_unknown_speakers_are_their_own() -> None:
    corpus = made(*["happy", "sad", ""] * 20, groups="")
    folds = draw_folds(corpus, 4, seed=0)
    unknown = np.array([u.emotion == "" for u in corpus.utterances])
    assert np.bincount(folds[unknown]).tolist() == [5, 5, 5, 5]
    mixed = small_corpus([u._replace(group="ann" if i < 10 else "") for i, u in enumerate(corpus.utterances)])
    folds = draw_folds(mixed, 4, seed=0)
    assert len(set(folds[:10])) == 1
    assert len(set(folds[10:])) == 4


def test_rare_emotions_neither_fail_nor_warn() -> None:
    corpus = made("a", "b", "a", "b", "c", "d", "e", groups="")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.bincount(draw_folds(corpus, 5, seed=0)).min() >= 1
        grouped = made("a", "b", "a", "b", "c", "d", "e", groups="1234567")
        assert np.bincount(draw_folds(grouped, 5, seed=0)).min() >= 1
        draw_folds(made(*"aaaaaab", groups="1234567"), 3, seed=0)


@pytest.mark.parametrize(
    ("corpus", "says"),
    [
        (made("a", "b", "a"), "only 3 utterances"),
        (made(*"ababab", groups="112233"), "only 3 groups"),
    ],
)
def test_refuses_too_few_for_the_folds(corpus: Corpus, says: str) -> None:
    with pytest.raises(UserError, match=f"data.folds=5: {says}"):
        draw_folds(corpus, 5, seed=0)


def test_takes_the_column_renumbered() -> None:
    corpus = made(*"ababa", folds=(7, 3, 12, 3, 7))
    assert draw_folds(corpus, "column", seed=0).tolist() == [1, 0, 2, 0, 1]


@pytest.mark.parametrize(
    ("folds", "says"), [((0, 1, -1, 0), "'u2' has no fold"), ((2, 2, 2, 2), "at least two")]
)
def test_refuses_a_column_that_is_not_enough(folds: tuple[int, ...], says: str) -> None:
    with pytest.raises(UserError, match=says):
        draw_folds(made(*"abab", folds=folds), "column", seed=0)


def test_a_training_part_needs_two_emotions() -> None:
    corpus = made("a", "a", "b", "b", "", "")
    with pytest.raises(UserError, match=r"fold 0: its training part.* 1 emotions"):
        check_folds(corpus, np.array([0, 0, 1, 1, 0, 1]))
    with pytest.raises(UserError, match="0 emotions"):
        check_folds(made("a", "b", "", ""), np.array([0, 0, 1, 1]))
    assert check_folds(corpus, np.array([0, 1, 0, 1, 0, 1])) == []


def test_warns_of_emotions_that_a_training_part_lacks() -> None:
    corpus = made(*"ababcd")
    assert check_folds(corpus, np.array([0, 0, 1, 1, 1, 1])) == ["fold 1: no c, d in its training part"]


def test_only_train_and_val_are_drawn(corpus: Corpus) -> None:
    assert len(draw_folds(corpus, 5, seed=0)) == 1200
    assert len(corpus.utterances) == 1440


def test_reads_back_what_was_written(corpus: Corpus, tmp_path: Path) -> None:
    folds = draw_folds(corpus, 5, seed=0)
    write_folds(tmp_path / "folds.csv", corpus, folds)
    np.testing.assert_array_equal(read_folds(tmp_path / "folds.csv", corpus), folds)
    assert [p.name for p in tmp_path.iterdir()] == ["folds.csv"]
    lines = (tmp_path / "folds.csv").read_text().splitlines()
    assert lines[:2] == ["utterance_id,fold", f"{corpus.utterances[0].id},{folds[0]}"]
    (tmp_path / "shuffled.csv").write_text("\n".join([lines[0], *reversed(lines[1:])]))
    np.testing.assert_array_equal(read_folds(tmp_path / "shuffled.csv", corpus), folds)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("utterance_id,fold\nu0,0\nu1,1\n", "'u2'"),
        ("utterance_id,fold\nu0,0\nu1,1\nu2,0\nu3,1\nmore,1\n", "'more'"),
        ("utterance_id,fold\nu0,0\nu1,x\nu2,0\nu3,1\n", "line 3: fold 'x'"),
        ("utterance_id,fold\nu0,0\nu1,\nu2,0\nu3,1\n", "no fold"),
        ("utterance_id,fold\nu0,0\nu1,2\nu2,0\nu3,2\n", "numbered"),
        ("utterance_id,fold\nu0,0\nu1,3000000000000\nu2,0\nu3,1\n", "numbered"),
        ("utterance_id\nu0\n", "'fold'"),
        ("", "empty"),
    ],
)
def test_refuses_folds_of_other_data(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "folds.csv").write_text(text)
    with pytest.raises(UserError, match=says) as caught:
        read_folds(tmp_path / "folds.csv", made(*"abab"))
    assert "folds.csv" in str(caught.value)


@needs_ravdess
def test_ravdess_by_actor() -> None:
    corpus = read_folder(data_config(root=RAVDESS, levels=["audio_l1_lstm1"], shared=[], tests=[]))
    drawn, column = draw_folds(corpus, 5, seed=0), draw_folds(corpus, "column", seed=0)
    assert column.tolist() == [u.fold for u in corpus.utterances]
    actors = {(u.group, fold) for u, fold in zip(corpus.utterances, drawn, strict=True)}
    assert len(actors) == 24
    assert Counter(fold for _, fold in actors).most_common()[-1][1] >= 4
    assert check_folds(corpus, drawn) == []


def test_the_fixed_protocol_takes_the_splits_as_they_are(tmp_path: Path) -> None:
    names = ("train", "val", "test", "train", "val", "train")
    utterances = [Utterance(f"u{i}", "ab"[i % 2], split=split) for i, split in enumerate(names)]
    corpus = small_corpus(utterances)
    folds = draw_folds(corpus, 5, seed=0, protocol="fixed")
    assert folds.tolist() == [-1, 0, -1, 0, -1]
    parts = fold_parts(folds, 0, "fixed")
    assert parts.train.tolist() == [True, False, True, False, True]
    assert parts.stopping.tolist() == parts.held_out.tolist() == [False, True, False, True, False]
    data = FoldData(corpus, folds, 0, "fixed", batch_size=8)
    assert data.train_rows.tolist() == [0, 3, 5]
    assert data.held_out_rows.tolist() == [1, 4]
    assert data.test_rows.tolist() == [2]
    assert data.never_held_out.tolist() == [0, 2, 3, 5]
    write_folds(tmp_path / "folds.csv", corpus, folds)
    assert read_folds(tmp_path / "folds.csv", corpus).tolist() == folds.tolist()
    text = (tmp_path / "folds.csv").read_text()
    (tmp_path / "folds.csv").write_text(text.replace("u1,0", "u1,"))
    with pytest.raises(UserError, match="'u0' has no fold"):
        read_folds(tmp_path / "folds.csv", corpus)
    for lacking in ("train", "val"):
        there = small_corpus([u for u in utterances if u.split != lacking])
        with pytest.raises(UserError, match=f"no utterance is in {lacking}; fix the labels' split column"):
            draw_folds(there, 5, seed=0, protocol="fixed")
