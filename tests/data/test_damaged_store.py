"""Stores that are damaged, or lie about themselves: refused by name."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from mer_lightning.data.corpus import Corpus
from mer_lightning.data.readers.store import read_store, write_store
from mer_lightning.errors import UserError
from tests.data.helpers import UTTERANCES, small_corpus, store_config


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
