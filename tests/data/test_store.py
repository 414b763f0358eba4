import hashlib
import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from mer_lightning.data.corpus import Corpus, Utterance
from mer_lightning.data.store import read_store, write_store
from mer_lightning.errors import UserError
from tests.data.helpers import data_config, same_utterances, small_corpus

UTTERANCES = [
    Utterance(f"u{i}", ("happy", "sad", "")[i % 3], (1.25, math.nan)[i % 2], split, "ann", i % 4 - 1)
    for i, split in enumerate(["train", "train", "val", "test1", "test2", "train", "test1"])
]


def store_config(root: Path, **changes: Any) -> Any:
    return data_config("store", root, **({"levels": [], "shared": []} | changes))


@pytest.fixture
def corpus() -> Corpus:
    return small_corpus(UTTERANCES)


@pytest.fixture
def store(corpus: Corpus, tmp_path: Path) -> Path:
    return write_store(corpus, tmp_path / "store", {"a": {"model": "hubert", "layers": [18]}})


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


def test_maps_only_what_exceeds_the_memory_granted(store: Path, corpus: Corpus) -> None:
    size = sum(array.nbytes for array in corpus.features.values()) / 1e9
    assert not isinstance(read_store(store_config(store, resident_gb=size)).features["a"], np.memmap)
    assert isinstance(read_store(store_config(store, resident_gb=size * 0.99)).features["a"], np.memmap)


def test_other_programs_can_read_it(store: Path, corpus: Corpus) -> None:
    manifest = json.loads((store / "manifest.json").read_text())
    assert manifest["schema"] == 1
    assert manifest["utterances"] == 7
    assert manifest["labels_sha256"] == hashlib.sha256((store / "labels.csv").read_bytes()).hexdigest()
    assert manifest["features"]["a"] == {
        "file": "a.safetensors",
        "dtype": "float32",
        "shape": [7, 3],
        "sha256": hashlib.sha256((store / "a.safetensors").read_bytes()).hexdigest(),
        "role": "level",
        "extractor": {"model": "hubert", "layers": [18]},
        "missing": 0,
    }
    assert manifest["features"]["c"]["role"] == "shared"
    np.testing.assert_array_equal(load_file(store / "b.safetensors")["features"], corpus.features["b"])
    assert sorted(p.name for p in store.iterdir()) == [
        "a.safetensors",
        "b.safetensors",
        "c.safetensors",
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
    for name in ("a.safetensors", "labels.csv", "manifest.json"):
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


@pytest.mark.parametrize("missing", [0, 2, 4])
def test_missing_rows_that_the_manifest_does_not_count_are_damage(tmp_path: Path, missing: int) -> None:
    corpus = small_corpus(UTTERANCES)
    corpus.features["b"][[0, 3, 6]] = np.nan
    store = write_store(corpus, tmp_path / "s")
    change_manifest(store, ("features", "b", "missing"), missing)
    with pytest.raises(UserError, match=r"b\.safetensors: .* of 'b'"):
        read_store(store_config(store))


def test_a_store_from_before_missing_rows_were_counted(store: Path) -> None:
    manifest = json.loads((store / "manifest.json").read_text())
    for entry in manifest["features"].values():
        del entry["missing"]
    (store / "manifest.json").write_text(json.dumps(manifest))
    assert read_store(store_config(store)).name == "small"


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


def edit(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.write_bytes(change(path.read_bytes()))


def flip(data: bytes) -> bytes:
    return data[:-2] + bytes([data[-2] ^ 1]) + data[-1:]


@pytest.mark.parametrize("resident_gb", [8, 0])
@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("labels.csv", lambda data: data.replace(b"happy", b"sad")),
        ("labels.csv", flip),
        ("labels.csv", lambda data: data[:-9]),
        ("manifest.json", lambda data: data[:-9]),
        ("manifest.json", lambda data: b""),
        ("a.safetensors", lambda data: data[:-4]),
        ("a.safetensors", lambda data: data + b"\0\0\0\0"),
        ("a.safetensors", lambda data: data[:5]),
        ("a.safetensors", lambda data: b""),
        ("a.safetensors", lambda data: b"\xff" * 8 + data[8:]),
        ("a.safetensors", lambda data: data[:8] + b"[" * (len(data) - 8)),
        ("b.safetensors", None),
        ("labels.csv", None),
        ("manifest.json", None),
    ],
)
def test_names_the_damaged_file(
    store: Path, file: str, change: Callable[[bytes], bytes] | None, resident_gb: float
) -> None:
    if change:
        edit(store / file, change)
    else:
        (store / file).unlink()
    with pytest.raises(UserError) as caught:
        read_store(store_config(store, resident_gb=resident_gb))
    assert file in str(caught.value)
    assert str(store) in str(caught.value)


def test_a_flipped_bit_is_noticed_when_loaded(store: Path) -> None:
    edit(store / "c.safetensors", flip)
    with pytest.raises(UserError, match=r"c\.safetensors: changed or damaged"):
        read_store(store_config(store))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_row_that_is_nan_in_part_is_neither_written_nor_read(
    corpus: Corpus, store: Path, tmp_path: Path, value: float
) -> None:
    corpus.features["a"][1] = np.nan  # the first that is wrong is named, not the first that is missing
    corpus.features["a"][3, 1] = value
    with pytest.raises(UserError, match=r"a\.safetensors: NaN or infinity in row 3"):
        write_store(corpus, tmp_path / "s")
    assert not (tmp_path / "s").exists()
    replace_tensors(store, {"features": corpus.features["a"]})
    change_manifest(store, ("features", "a", "missing"), 1)
    with pytest.raises(UserError, match=r"a\.safetensors: NaN or infinity in row 3"):
        read_store(store_config(store, resident_gb=0))
    corpus.features["a"][3, 1] = 0
    replace_tensors(store, {"features": corpus.features["a"]})
    assert np.isnan(read_store(store_config(store, resident_gb=0)).features["a"][1]).all()


def change_manifest(store: Path, keys: tuple[str, ...], value: object) -> None:
    manifest = json.loads((store / "manifest.json").read_text())
    place = manifest
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    (store / "manifest.json").write_text(json.dumps(manifest))


def replace_tensors(store: Path, tensors: dict[str, np.ndarray]) -> None:
    save_file(tensors, store / "a.safetensors")


@pytest.mark.parametrize(
    "tensors",
    [
        {"other": np.ones((7, 3), np.float32)},
        {"features": np.ones((7, 3), np.float32), "more": np.ones(1, np.float32)},
        {"features": np.ones((7, 3), np.float64)},
        {"features": np.ones((7, 3), np.float16)},
        {"features": np.ones((7, 4), np.float32)},
        {"features": np.ones((6, 3), np.float32)},
        {"features": np.ones(21, np.float32)},
        {"features": np.ones((7, 0), np.float32)},
    ],
)
def test_refuses_other_tensors(store: Path, tensors: dict[str, np.ndarray]) -> None:
    replace_tensors(store, tensors)
    with pytest.raises(UserError, match=r"a\.safetensors"):
        read_store(store_config(store, resident_gb=0))


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [7, 3], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [7, 3], "data_offsets": [-84, 0]},
        {"dtype": "F32", "shape": [-7, -3], "data_offsets": [0, 84]},
        {"dtype": "F32", "shape": [7, 2], "data_offsets": [0, 84]},
        {"dtype": "F32", "shape": [7, True], "data_offsets": [0, 84]},
        {"dtype": "F32", "shape": [7, 3.0], "data_offsets": [0, 84]},
        {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 2**82]},
        {"dtype": ["F32"], "shape": [7, 3], "data_offsets": [0, 84]},
        {"shape": [7, 3]},
        None,
        [],
    ],
)
def test_refuses_headers_that_lie(store: Path, entry: object) -> None:
    header = json.dumps({"features": entry}).encode()
    (store / "a.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 84)
    with pytest.raises(UserError, match=r"a\.safetensors: cannot be read"):
        read_store(store_config(store, resident_gb=0))


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("features", "a", "file"), "../secret.safetensors"),
        (("features", "a", "file"), "/etc/passwd"),
        (("features", "a", "file"), ".."),
        (("features", "a", "file"), "..\\secret"),
        (("features", "a", "file"), None),
        (("features", "a", "shape"), [7, 4]),
        (("features", "a", "dtype"), "float16"),
        (("features", "a", "role"), "boss"),
        (("features", "a", "extra"), 1),
        (("features", "a", "missing"), 1),
        (("features", "a", "missing"), -1),
        (("features", "a", "missing"), True),
        (("features", "a", "missing"), "0"),
        (("features", "a"), []),
        (("features",), []),
        (("features",), {}),
        (("schema",), 2),
        (("utterances",), 8),
        (("utterances",), "7"),
        (("classes",), ["happy"]),
        (("classes",), [1]),
        (("classes",), None),
        (("name",), 3),
        (("synthetic",), "no"),
        (("labels_sha256",), "0"),
        (("more",), 1),
    ],
)
def test_refuses_a_manifest_that_lies(store: Path, keys: tuple[str, ...], value: object) -> None:
    shutil.copy(store / "a.safetensors", store.parent / "secret.safetensors")
    change_manifest(store, keys, value)
    with pytest.raises(UserError, match="store"):
        read_store(store_config(store))


@pytest.mark.parametrize(
    "text", ["[]", "3", "{}", '{"schema": 1}', "[" * 100_000, "\ud800".encode("utf-8", "replace")]
)
def test_refuses_what_is_no_manifest(store: Path, text: str | bytes) -> None:
    (store / "manifest.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=r"manifest\.json"):
        read_store(store_config(store))


def test_a_folder_without_manifest_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"manifest\.json"):
        read_store(store_config(tmp_path))


def test_unknown_sets_are_named(store: Path) -> None:
    with pytest.raises(UserError, match=r"'hubert'; there are: a, b, c"):
        read_store(store_config(store, levels=["hubert"]))
