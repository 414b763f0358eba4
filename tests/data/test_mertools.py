import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mer_lightning.data.corpus import Corpus
from mer_lightning.data.readers.folder import read_folder
from mer_lightning.data.readers.mertools import read_label_npz, read_mertools
from mer_lightning.data.readers.registry import read_corpus
from mer_lightning.errors import UserError
from tests.conftest import composed
from tests.data.helpers import RAVDESS, data_config, needs_ravdess

Table = dict[str, dict[str, object]]


def write_npz(root: Path, **corpora: Table) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    tables = {f"{name}_corpus": np.array(table, dtype=object) for name, table in corpora.items()}
    np.savez(root / "label-6way.npz", **tables)
    return root / "label-6way.npz"


def labels(root: Path, **corpora: Table) -> dict[str, tuple[str, float | None, str]]:
    utterances = read_label_npz(write_npz(root, **corpora))
    return {u.id: (u.emotion, None if math.isnan(u.valence) else u.valence, u.split) for u in utterances}


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    """Clips c0 and c1 in train, c2 in test1; sets a (3), b (4), c (5)."""
    emotions = {"c0": "happy", "c1": "sad"}
    write_npz(
        tmp_path,
        train={clip: {"emo": emotion, "val": 1.0} for clip, emotion in emotions.items()},
        test1={"c2": {"emo": "sad", "val": -1.0}},
    )
    for name, dimension in {"a": 3, "b": 4, "c": 5}.items():
        (tmp_path / "features" / name).mkdir(parents=True)
        for i in range(3):
            np.save(tmp_path / "features" / name / f"c{i}.npy", np.full(dimension, i, dtype=np.float32))
    return tmp_path


def test_reads_the_labels(tmp_path: Path) -> None:
    found = labels(
        tmp_path,
        train={
            "x": {"emo": "happy", "val": 1.5},
            "y": {"emo": np.str_(" sad "), "val": np.float32(-2)},
            "z": {"emo": "sad"},
            "w": {"emo": None, "val": 2},
        },
        test1={"t": {"emo": "neutral", "val": 0}},
    )
    assert found == {
        "x": ("happy", 1.5, "train"),
        "y": ("sad", -2.0, "train"),
        "z": ("sad", None, "train"),
        "w": ("", 2.0, "train"),
        "t": ("neutral", 0.0, "test1"),
    }


def test_neutral_without_valence_is_an_unknown_label(tmp_path: Path) -> None:
    found = labels(
        tmp_path,
        train={
            "x": {"emo": "neutral", "val": -10},
            "y": {"emo": "happy", "val": -10},
            "z": {"emo": "sad", "val": 1},
        },
        test2={"all": {"emo": "neutral", "val": -10}, "unknown": {"emo": "neutral", "val": -10}},
        test4={"one": {"emo": "sad"}, "alone": {"emo": "sad"}},
        test3={"real": {"emo": "neutral", "val": -10}, "other": {"emo": "angry", "val": -10}},
    )
    assert found == {
        "x": ("", None, "train"),
        "y": ("happy", None, "train"),
        "z": ("sad", 1.0, "train"),
        "all": ("", None, "test2"),
        "unknown": ("", None, "test2"),
        "one": ("", None, "test4"),
        "alone": ("", None, "test4"),
        "real": ("neutral", None, "test3"),
        "other": ("angry", None, "test3"),
    }


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"../../x": {"emo": "sad"}}, "'../../x'"),
        ({"": {"emo": "sad"}}, "''"),
        ({7: {"emo": "sad"}}, "type int"),
        ({"x": "sad"}, "'x'"),
        ({"x": {"emo": 3}}, "'x'.*emo"),
        ({"x": {"emo": "a\0b"}}, "'x'.*emo"),
        ({"x": {"emo": np.arange(3)}}, "'x'.*emo"),
        ({"x": {"emo": "sad", "val": "high"}}, "'x'.*'high'"),
        ({"x": {"emo": "sad", "val": math.inf}}, "'x'.*inf"),
        ({"x": {"emo": "sad", "val": 10**5000}}, "'x'.*type int"),
        ({"x": {"emo": "sad", "val": np.arange(3)}}, "'x'.*val must be a number"),
    ],
)
def test_refuses_odd_labels_by_clip(tmp_path: Path, table: Table, says: str) -> None:
    with pytest.raises(UserError, match=says) as caught:
        labels(tmp_path, train=table)
    assert "label-6way.npz" in str(caught.value)


def test_refuses_a_clip_in_two_splits(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'x' is in train_corpus and test1_corpus"):
        labels(tmp_path, train={"x": {"emo": "sad"}}, test1={"x": {"emo": "sad"}})


def test_averages_over_time(layout: Path) -> None:
    frames = np.random.default_rng(0).normal(size=(3, 7, 3))
    folder = layout / "features" / "a"
    np.save(folder / "c0.npy", frames[0])
    np.save(folder / "c1.npy", frames[1].astype(np.float16))
    (folder / "c2.npy").unlink()
    (folder / "c2").mkdir()
    for t, frame in enumerate(frames[2]):
        np.save(folder / "c2" / f"{t:04d}.npy", frame if t % 2 else frame[None])
    features = read_mertools(data_config("mertools", layout)).features["a"]
    assert features.dtype == np.float32
    np.testing.assert_allclose(features[[0, 2]], frames[[0, 2]].mean(axis=1), atol=1e-6)
    np.testing.assert_allclose(features[1], frames[1].mean(axis=0), atol=1e-3)


def test_a_test_set_left_out_needs_no_features(layout: Path) -> None:
    table = {"c0": {"emo": "happy", "val": 1.0}, "c1": {"emo": "sad", "val": 1.0}}
    write_npz(layout, train=table, test1={"c2": {"emo": "sad"}}, test3={"never": {"emo": "odd"}})
    corpus = read_mertools(data_config("mertools", layout, tests=["test1"]))
    assert [u.id for u in corpus.utterances] == ["c0", "c1", "c2"]
    assert corpus.classes == ("happy", "sad")
    with pytest.raises(UserError, match="'never'"):
        read_mertools(data_config("mertools", layout))


@pytest.mark.parametrize(
    ("name", "file", "valence"),
    [
        ("mer2023", "label-6way.npz", True),
        ("mer2024", "label-6way.npz", False),
        ("mer2025", "track1_label_6way.npz", False),
        ("mer2026", "track1_label_6way.npz", False),
    ],
)
def test_challenges_by_name(name: str, file: str, valence: bool, tmp_path: Path) -> None:
    """Imitations of the label files that MERTools makes of each challenge's release."""
    emotions = ("worried", "neutral", "surprise", "sad", "happy", "angry")
    known = {"val": -1.5} if valence else {}
    train: Table = {f"samplenew3_{i:08d}": {"emo": e, **known} for i, e in enumerate(emotions * 2)}
    tests: dict[str, Table] = {
        "test1": {
            f"samplenew_{i:08d}": {"emo": "neutral" if not valence else "sad", **known} for i in range(3)
        }
    }
    if valence:
        tests["test3"] = {f"semi_{i}": {"emo": e, "val": -10} for i, e in enumerate(("neutral", "sad"))}
    write_npz(tmp_path, train=train, **tests).rename(tmp_path / file)
    (tmp_path / "features" / "hubert-UTT").mkdir(parents=True)
    for clip in (*train, *(clip for table in tests.values() for clip in table)):
        np.save(tmp_path / "features" / "hubert-UTT" / f"{clip}.npy", np.ones(4, np.float32))
    settings = (f"data={name}", f"data.root={tmp_path}", "data.levels=[hubert-UTT]")
    corpus = read_corpus(composed(*settings).data)
    assert corpus.classes == ("neutral", "angry", "happy", "sad", "worried", "surprise")
    found = {split: {u.emotion for u in corpus.utterances if u.split == split} for split in ("train", *tests)}
    assert found["train"] == set(emotions)
    assert all(np.isnan(u.valence) != valence for u in corpus.utterances if u.split == "train")
    if valence:
        assert found["test1"] == {"sad"}
        assert found["test3"] == {"neutral", "sad"}
        return
    assert found["test1"] == {""}
    assert corpus.notes == ("test set test1: no emotion is known, so it is predicted and not scored",)
    alone = read_corpus(composed(*settings, "data.tests=[]").data)
    assert {u.split for u in alone.utterances} == {"train"}
    assert len(alone.utterances) == len(train)
    assert alone.notes == ("test1 has no labels, or placeholders, and is left out",)


def damage_clip(name: str, array: np.ndarray | None) -> Callable[[Path], None]:
    def damage(root: Path) -> None:
        path = root / "features" / "b" / name
        path.parent.mkdir(exist_ok=True)
        path.unlink(missing_ok=True)
        if array is not None:
            np.save(path, array)

    return damage


def frames_of(*shapes: tuple[int, ...]) -> Callable[[Path], None]:
    def damage(root: Path) -> None:
        (root / "features" / "b" / "c1.npy").unlink()
        (root / "features" / "b" / "c1").mkdir()
        for i, shape in enumerate(shapes):
            np.save(root / "features" / "b" / "c1" / f"{i}.npy", np.zeros(shape))

    return damage


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (damage_clip("c1.npy", None), ["clip 'c1'", "1 of 3 clips"]),
        (damage_clip("c1.npy", np.zeros(9)), ["'c1'", "9 dimensions", "'c0' 4"]),
        (damage_clip("c1.npy", np.zeros((0, 4))), ["c1.npy", "no frames"]),
        (damage_clip("c1.npy", np.zeros(0)), ["c1.npy", "no dimensions"]),
        (damage_clip("c1.npy", np.float32(1)), ["c1.npy", "2-d"]),
        (damage_clip("c1.npy", np.zeros((2, 2, 4))), ["c1.npy", "2-d"]),
        (damage_clip("c1.npy", np.array([1, np.nan, 1, 1])), ["c1.npy", "NaN"]),
        (damage_clip("c1.npy", np.full(4, np.nan)), ["c1.npy", "NaN"]),
        (damage_clip("c1.npy", np.array(["a", "b", "c", "d"])), ["c1.npy", "numbers"]),
        (damage_clip("c1.npy", np.array([None] * 4)), ["c1.npy", "numpy.save"]),
        (frames_of(), ["'c1'", "no frames"]),
        (frames_of((4,), (5,)), ["'c1'", "alike"]),
        (frames_of((2, 4), (2, 4)), ["'c1'", "alike"]),
    ],
)
def test_refuses_broken_features_by_clip(
    layout: Path, damage: Callable[[Path], None], says: list[str]
) -> None:
    damage(layout)
    with pytest.raises(UserError) as caught:
        read_mertools(data_config("mertools", layout))
    for words in [*says, str(layout / "features" / "b")]:
        assert words in str(caught.value)


def test_names_are_exact(layout: Path) -> None:
    (layout / "features" / "wav2vec-UTT").mkdir()
    with pytest.raises(UserError, match=r"'wav2vec_UTT'; did you mean 'wav2vec-UTT'.*a, b, c, wav2vec-UTT"):
        read_mertools(data_config("mertools", layout, levels=["wav2vec_UTT"]))


def write_utterance(folder: Path, clip: str, vector: np.ndarray) -> None:
    np.save(folder / f"{clip}.npy", vector)


def write_sequence(folder: Path, clip: str, vector: np.ndarray) -> None:
    np.save(folder / f"{clip}.npy", np.stack([vector - 1, vector, vector + 1]))


def write_frames(folder: Path, clip: str, vector: np.ndarray) -> None:
    (folder / clip).mkdir()
    for i in range(3):
        np.save(folder / clip / f"{clip}_{i}.npy", vector + (i - 1))


@needs_ravdess
@pytest.mark.parametrize("write", [write_utterance, write_sequence, write_frames])
def test_agrees_with_the_feature_folder(
    tmp_path: Path, write: Callable[[Path, str, np.ndarray], None]
) -> None:
    names = {"levels": ["audio_l1_lstm1", "audio_l3_lstm3"], "shared": ["visual_openface_au"]}
    expected = read_folder(data_config(root=RAVDESS, **names))
    rows = np.flatnonzero([u.emotion != "" for u in expected.utterances])[::6]
    chosen = [expected.utterances[i] for i in rows]
    splits = ("train", "val", "test")
    write_npz(
        tmp_path,
        **{s: {u.id: {"emo": u.emotion, "val": -10} for u in chosen if u.split == s} for s in splits},
    )
    for name, array in expected.features.items():
        (tmp_path / "features" / name).mkdir(parents=True)
        for i in rows:
            write(tmp_path / "features" / name, expected.utterances[i].id, array[i])
    found = read_mertools(data_config("mertools", tmp_path, **names))
    assert_same_by_id(found, expected)
    assert len(found.utterances) == len(rows)


def assert_same_by_id(found: Corpus, expected: Corpus) -> None:
    row = {u.id: i for i, u in enumerate(expected.utterances)}
    order = [row[u.id] for u in found.utterances]
    assert found.classes == expected.classes
    assert [(u.emotion, u.split) for u in found.utterances] == [
        (expected.utterances[i].emotion, expected.utterances[i].split) for i in order
    ]
    for name, array in found.features.items():
        np.testing.assert_allclose(array, expected.features[name][order], atol=1e-6)
