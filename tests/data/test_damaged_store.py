"""Stores that are damaged, or lie about themselves: refused by name."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mer_lightning.data.corpus import Corpus
from mer_lightning.data.readers.store import read_store, write_store
from mer_lightning.errors import UserError
from mer_lightning.files.checksums import write_checksums
from tests.data.helpers import UTTERANCES, small_corpus, store_config

SECRET = {"dtype": "float32", "shape": [7, 3], "role": "level", "extractor": {}, "missing": 0}


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
        ("a.npy", lambda data: data[:-4]),
        ("a.npy", lambda data: data + b"\0\0\0\0"),
        ("a.npy", lambda data: data[:5]),
        ("a.npy", lambda data: b""),
        ("a.npy", lambda data: b"\xff" * 8 + data[8:]),
        ("a.npy", lambda data: data[:10] + b"[" * (len(data) - 10)),
        ("b.npy", None),
        ("labels.csv", None),
        ("SHA256SUMS", None),
        ("SHA256SUMS", lambda data: b""),
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
    edit(store / "c.npy", flip)
    with pytest.raises(UserError, match=r"c\.npy: .*SHA256SUMS"):
        read_store(store_config(store))


def change_manifest(store: Path, keys: tuple[str, ...], value: object) -> None:
    manifest = json.loads((store / "manifest.json").read_text())
    place = manifest
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    (store / "manifest.json").write_text(json.dumps(manifest))
    write_checksums(store)


@pytest.mark.parametrize("resident_gb", [8, 0])
@pytest.mark.parametrize(
    "array",
    [
        np.ones((7, 3), np.float64),
        np.ones((7, 3), np.float16),
        np.ones((7, 3), ">f4"),
        np.ones((7, 3), np.int32),
        np.ones((7, 4), np.float32),
        np.ones((6, 3), np.float32),
        np.ones(21, np.float32),
        np.ones((7, 0), np.float32),
        np.array([[{}] * 3] * 7, dtype=object),
    ],
    ids=lambda array: f"{array.dtype} {array.shape}",
)
def test_refuses_other_arrays(store: Path, array: np.ndarray, resident_gb: float) -> None:
    np.save(store / "a.npy", array)
    with pytest.raises(UserError, match=r"a\.npy"):
        read_store(store_config(store, resident_gb=resident_gb))


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("features", "../secret"), SECRET),
        (("features", "/secret"), SECRET),
        (("features", "..\\secret"), SECRET),
        (("features", "a", "file"), "../secret.npy"),
        (("features", "a", "shape"), [7]),
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
        (("schema",), 1),
        (("utterances",), 8),
        (("utterances",), "7"),
        (("classes",), ["happy"]),
        (("classes",), [1]),
        (("classes",), None),
        (("name",), 3),
        (("synthetic",), "no"),
        (("more",), 1),
    ],
)
def test_refuses_a_manifest_that_lies(store: Path, keys: tuple[str, ...], value: object) -> None:
    shutil.copy(store / "a.npy", store.parent / "secret.npy")
    change_manifest(store, keys, value)
    with pytest.raises(UserError, match="store"):
        read_store(store_config(store))


@pytest.mark.parametrize(
    "text", ["[]", "3", "{}", '{"schema": 2}', "[" * 100_000, "\ud800".encode("utf-8", "replace")]
)
def test_refuses_what_is_no_manifest(store: Path, text: str | bytes) -> None:
    (store / "manifest.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    write_checksums(store)
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
    with pytest.raises(UserError, match=r"b\.npy: .* of 'b'"):
        read_store(store_config(store))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_row_that_is_nan_in_part_is_neither_written_nor_read(
    corpus: Corpus, store: Path, tmp_path: Path, value: float
) -> None:
    corpus.features["a"][1] = np.nan  # the first that is wrong is named, not the first that is missing
    corpus.features["a"][3, 1] = value
    with pytest.raises(UserError, match=r"a\.npy: NaN or infinity in row 3"):
        write_store(corpus, tmp_path / "s")
    assert not (tmp_path / "s").exists()
    np.save(store / "a.npy", corpus.features["a"])
    change_manifest(store, ("features", "a", "missing"), 1)
    with pytest.raises(UserError, match=r"a\.npy: NaN or infinity in row 3"):
        read_store(store_config(store, resident_gb=0))
    corpus.features["a"][3, 1] = 0
    np.save(store / "a.npy", corpus.features["a"])
    assert np.isnan(read_store(store_config(store, resident_gb=0)).features["a"][1]).all()
