import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mer_lightning.data.corpus import Corpus
from mer_lightning.data.readers.store import read_store, write_store
from mer_lightning.errors import UserError
from tests.data.helpers import UTTERANCES, same_utterances, small_corpus, store_config


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("resident_gb", [8, 0])
def test_reads_back_exactly(tmp_path: Path, dtype: str, resident_gb: float) -> None:
    corpus = replace(small_corpus(UTTERANCES, dtype), classes=("sad", "happy"), synthetic=True)
    found = read_store(store_config(write_store(corpus, tmp_path / "s"), resident_gb=resident_gb))
    assert same_utterances(found.utterances, corpus.utterances)
    assert (found.name, found.levels, found.shared) == (corpus.name, corpus.levels, corpus.shared)
    assert found.classes == ("sad", "happy")
    assert found.synthetic
    for name, array in corpus.features.items():
        assert found.features[name].dtype == dtype
        np.testing.assert_array_equal(found.features[name], array)
        assert isinstance(found.features[name], np.memmap) == (resident_gb == 0)
    assert found.fingerprint == corpus.fingerprint  # the same data wherever they are


def test_maps_only_what_exceeds_the_memory_granted(store: Path, corpus: Corpus) -> None:
    size = sum(array.nbytes for array in corpus.features.values()) / 1e9
    assert not isinstance(read_store(store_config(store, resident_gb=size)).features["a"], np.memmap)
    assert isinstance(read_store(store_config(store, resident_gb=size * 0.99)).features["a"], np.memmap)


def test_other_programs_can_read_it(store: Path, corpus: Corpus) -> None:
    manifest = json.loads((store / "manifest.json").read_text())
    assert manifest["schema"] == 2
    assert manifest["utterances"] == 7
    assert manifest["features"]["a"] == {
        "dtype": "float32",
        "shape": [7, 3],
        "role": "level",
        "extractor": {"model": "hubert", "layers": [18]},
        "missing": 0,
    }
    assert manifest["features"]["c"]["role"] == "shared"
    np.testing.assert_array_equal(np.load(store / "b.npy"), corpus.features["b"])
    for line in (store / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((store / name).read_bytes()).hexdigest() == digest
    assert sorted(p.name for p in store.iterdir()) == [
        "SHA256SUMS",
        "a.npy",
        "b.npy",
        "c.npy",
        "labels.csv",
        "manifest.json",
    ]


@pytest.mark.parametrize(
    ("chosen", "levels", "shared"),
    [
        ({}, ("a", "b"), ("c",)),
        ({"levels": ["b"]}, ("b",), ()),
        ({"levels": ["c"], "shared": ["a"]}, ("c",), ("a",)),
        ({"shared": ["b"]}, ("a",), ("b",)),
    ],
)
def test_chooses_sets(store: Path, chosen: dict[str, Any], levels: tuple[str], shared: tuple[str]) -> None:
    corpus = read_store(store_config(store, **chosen))
    assert (corpus.levels, corpus.shared) == (levels, shared)
    assert set(corpus.features) == {*levels, *shared}


def test_chooses_test_sets_and_groups(store: Path, corpus: Corpus) -> None:
    rows = [0, 1, 2, 4, 5]
    found = read_store(store_config(store, tests=["test2"], group=""))
    assert [u.id for u in found.utterances] == [f"u{i}" for i in rows]
    assert {u.group for u in found.utterances} == {""}
    np.testing.assert_array_equal(found.features["b"], corpus.features["b"][rows])
    with pytest.raises(UserError, match="resident_gb"):
        read_store(store_config(store, tests=["test2"], resident_gb=0))


@pytest.mark.parametrize(
    ("order", "rows"),
    [(["train", "val", "test1", "test2"], slice(6)), (["test2", "train", "val", "test1"], slice(1, 7))],
)
def test_a_map_of_adjacent_rows_stays_a_map(tmp_path: Path, order: list[str], rows: slice) -> None:
    corpus = small_corpus(sorted(UTTERANCES, key=lambda u: order.index(u.split)))
    root = write_store(corpus, tmp_path / "s")
    features = read_store(store_config(root, tests=["test1"], resident_gb=0)).features
    assert isinstance(features["a"], np.memmap)
    np.testing.assert_array_equal(features["a"], corpus.features["a"][rows])


def test_a_copy_of_a_copy_is_the_same(store: Path, tmp_path: Path) -> None:
    corpus = read_store(store_config(store, resident_gb=0))
    assert corpus.extractors == {"a": {"model": "hubert", "layers": [18]}, "b": {}, "c": {}}
    again = write_store(corpus, tmp_path / "deep" / "again")
    for name in ("a.npy", "labels.csv", "manifest.json"):
        assert (again / name).read_bytes() == (store / name).read_bytes()


def test_further_tables_lie_beside_the_features(corpus: Corpus, tmp_path: Path) -> None:
    store = write_store(corpus, tmp_path / "s", tables={"failures.csv": "utterance_id,reason\n"})
    assert (store / "failures.csv").read_text() == "utterance_id,reason\n"
    assert read_store(store_config(store)).name == "small"


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("resident_gb", [8, 0])
def test_missing_rows_are_counted_and_read_back(
    tmp_path: Path, dtype: str, resident_gb: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mer_lightning.data.corpus.BLOCK", 4)
    corpus = small_corpus(UTTERANCES, dtype)
    corpus.features["b"][[0, 3, 6]] = np.nan
    store = write_store(corpus, tmp_path / "s")
    entries = json.loads((store / "manifest.json").read_text())["features"]
    assert {name: entry["missing"] for name, entry in entries.items()} == {"a": 0, "b": 3, "c": 0}
    for name, array in read_store(store_config(store, resident_gb=resident_gb)).features.items():
        np.testing.assert_array_equal(array, corpus.features[name])
    some = read_store(store_config(store, tests=["test2"]))  # the count is the store's, not the choice's
    assert np.isnan(some.features["b"][:, 0]).sum() == 1


def test_writes_into_an_empty_folder(corpus: Corpus, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert read_store(store_config(write_store(corpus, tmp_path / "empty"))).name == "small"
    assert [p.name for p in tmp_path.iterdir()] == ["empty"]


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_never_writes_over_anything(corpus: Corpus, tmp_path: Path, kind: str) -> None:
    target = tmp_path / "mine"
    kept = target / "thesis.txt" if kind == "folder" else target
    kept.parent.mkdir(exist_ok=True)
    kept.write_text("precious")
    with pytest.raises(UserError, match="mine: exists"):
        write_store(corpus, target)
    assert kept.read_text() == "precious"
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]


def test_leaves_nothing_behind_when_it_fails(corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="feature set"):
        write_store(
            replace(corpus, levels=("../a",), features={"../a": corpus.features["a"]}), tmp_path / "s"
        )
    with pytest.raises(TypeError):
        write_store(corpus, tmp_path / "s", {"a": {"model": object()}})
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        write_store(corpus, tmp_path / "file" / "s")


def test_unknown_sets_are_named(store: Path) -> None:
    with pytest.raises(UserError, match=r"'hubert'; there are: a, b, c"):
        read_store(store_config(store, levels=["hubert"]))
