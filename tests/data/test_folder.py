from pathlib import Path

import numpy as np
import pytest

from mer_lightning.data.readers.folder import read_folder
from mer_lightning.errors import UserError
from tests.data.helpers import LABELS, data_config, feature_folder


def test_reads_features_and_labels(tmp_path: Path) -> None:
    root = feature_folder(tmp_path / "mine")
    corpus = read_folder(data_config(root=root))
    assert corpus.name == "mine"
    assert corpus.classes == ("happy", "sad")
    assert corpus.dimensions == {"a": 3, "b": 4, "c": 5}
    assert corpus.emotions.tolist() == [0, 1, 0, -1, 1, 0]
    for name, array in corpus.features.items():
        np.testing.assert_array_equal(array, np.load(root / f"{name}.npy"))
        assert not isinstance(array, np.memmap)


def test_float64_becomes_float32_and_float16_stays(tmp_path: Path) -> None:
    root = feature_folder(tmp_path)
    np.save(root / "a.npy", np.random.default_rng(0).normal(size=(6, 3)))
    np.save(root / "b.npy", np.ones((6, 4), dtype=np.float16))
    features = read_folder(data_config(root=root)).features
    assert (features["a"].dtype, features["b"].dtype) == (np.float32, np.float16)
    np.testing.assert_array_equal(features["a"], np.load(root / "a.npy").astype(np.float32))


@pytest.mark.parametrize(
    ("tests", "rows", "splits"),
    [
        (None, [0, 1, 2, 3, 4, 5], {"train", "val", "test1", "test2"}),
        ([], [0, 1, 2, 3, 4, 5], {"train"}),
        (["test2"], [0, 1, 2, 3, 5], {"train", "val", "test2"}),
        (["test1", "test2"], [0, 1, 2, 3, 4, 5], {"train", "val", "test1", "test2"}),
    ],
)
def test_chooses_test_sets(
    tmp_path: Path, tests: list[str] | None, rows: list[int], splits: set[str]
) -> None:
    root = feature_folder(tmp_path)
    corpus = read_folder(data_config(root=root, tests=tests))
    assert [u.id for u in corpus.utterances] == [f"u{i}" for i in rows]
    assert {u.split for u in corpus.utterances} == splits
    np.testing.assert_array_equal(corpus.features["c"], np.load(root / "c.npy")[rows])


def test_an_emotion_of_a_test_set_left_out_is_no_class(tmp_path: Path) -> None:
    root = feature_folder(tmp_path, LABELS.replace("u5,happy", "u5,odd"))
    assert "odd" in read_folder(data_config(root=root)).classes
    assert "odd" not in read_folder(data_config(root=root, tests=["test1"])).classes


def test_takes_the_classes_and_labels_asked_for(tmp_path: Path) -> None:
    root = feature_folder(tmp_path / "data")
    other = tmp_path / "other.csv"
    other.write_text(LABELS.replace("sad", "blue"), encoding="utf-8")
    config = data_config(root=root, labels=str(other), classes=["happy", "blue"])
    assert read_folder(config).classes == ("happy", "blue")
    (root / "inside.csv").write_text(LABELS.replace("sad", "low"), encoding="utf-8")
    assert read_folder(data_config(root=root, labels="inside.csv")).classes == ("happy", "low")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"root": "nowhere"}, ["data.root=nowhere"]),
        ({"levels": ["aa"]}, ["'aa'", "did you mean 'a'", "a, b, c"]),
        ({"shared": ["../a"]}, ["'../a'"]),
        ({"labels": "none.csv"}, ["none.csv: no such file"]),
        ({"tests": ["test3"]}, ["'test3'", "test1", "test2"]),
        ({"tests": ["train"]}, ["'train'"]),
        ({"classes": ["happy"]}, ["'sad'"]),
    ],
)
def test_refuses_a_wrong_setting(tmp_path: Path, changes: dict[str, object], says: list[str]) -> None:
    root = feature_folder(tmp_path)
    with pytest.raises(UserError) as caught:
        read_folder(data_config(**({"root": root} | changes)))
    for words in says:
        assert words in str(caught.value)


def bad_row(value: float) -> np.ndarray:
    array = np.zeros((6, 3))
    array[4, 1] = value
    return array


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (bad_row(np.nan), "row 4"),
        (bad_row(np.nan)[:, [1, 1]], "row 4"),  # wholly NaN: missing rows are for stores
        (bad_row(np.inf), "row 4"),
        (bad_row(1e300), "row 4"),
        (np.zeros((5, 3)), "5 rows for 6"),
        (np.zeros((7, 3)), "7 rows for 6"),
        (np.zeros((6, 2, 3)), "2-d"),
        (np.zeros(6), "2-d"),
        (np.float32(1), "2-d"),
        (np.full((6, 3), "x"), "numbers"),
        (np.zeros((6, 3), dtype=complex), "numbers"),
        (np.zeros((6, 0)), "no dimensions"),
    ],
)
def test_refuses_features_that_do_not_fit(tmp_path: Path, array: np.ndarray, says: str) -> None:
    root = feature_folder(tmp_path)
    np.save(root / "b.npy", array)
    with pytest.raises(UserError, match=says) as caught:
        read_folder(data_config(root=root))
    assert str(root / "b.npy") in str(caught.value)


def test_refuses_labels_without_utterances(tmp_path: Path) -> None:
    root = feature_folder(tmp_path)
    (root / "labels.csv").write_text("utterance_id\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"labels.csv: no utterances"):
        read_folder(data_config(root=root))
