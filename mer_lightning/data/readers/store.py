"""The feature store: a feature folder with a manifest, checked by digests and mapped where it is large."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mer_lightning.config.groups import DataConfig
from mer_lightning.data.arrays import brief, load_npy, save_npy
from mer_lightning.data.corpus import (
    Corpus,
    Utterance,
    check_features,
    check_id,
    choose_tests,
    count_missing,
    emotion_classes,
)
from mer_lightning.data.labels import read_labels, write_labels
from mer_lightning.data.paths import data_root, require_sets
from mer_lightning.data.readers.manifest import FILE, REMEDY, FeatureEntry, Manifest, read_manifest
from mer_lightning.errors import UserError
from mer_lightning.files.atomic import new_folder
from mer_lightning.files.checksums import check_whole, write_checksums
from mer_lightning.files.strict_json import as_json

LABELS = "labels.csv"
GIGABYTE = 1e9


def write_store(
    corpus: Corpus,
    root: Path,
    extractors: Mapping[str, Mapping[str, Any]] | None = None,
    tables: Mapping[str, str] | None = None,
) -> Path:
    """Write a corpus as a new store and return its absolute path.

    extractors: feature set -> how it was made, kept in the manifest; None: as the corpus says.
    tables: file name -> text of further files, for people.
    The store appears whole or not at all. Raises UserError if ``root`` exists and is not an empty
    folder, or cannot be written, or if a row is NaN in part.
    """
    root = root.expanduser().absolute()
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise UserError(f"{root}: exists already; give output= a new folder, or remove this one first")
    try:
        with new_folder(root) as draft:
            _write(corpus, draft, corpus.extractors if extractors is None else extractors)
            for name, text in (tables or {}).items():
                (draft / name).write_text(text, encoding="utf-8", newline="")
            write_checksums(draft)
    except OSError as error:
        raise UserError(f"{root}: the store cannot be written ({brief(error)})") from error
    return root


def read_store(config: DataConfig) -> Corpus:
    """The corpus of a store; its features are memory maps if they exceed ``data.resident_gb``.

    ``data.levels`` names the levels, and ``data.shared`` then all the shared sets; without levels, the
    store's own are taken. Raises UserError, naming the file, for whatever is damaged or missing.
    """
    root = data_root(config.root)
    manifest = read_manifest(root)
    levels, shared = _chosen(config, manifest, root)
    everyone = read_store_labels(root, manifest, "group" if config.group else "")
    utterances, rows = choose_tests(everyone, config.tests, root)
    found = {u.emotion for u in utterances}
    classes = config.classes or [name for name in manifest.classes if name in found]
    names = (*levels, *shared)
    return Corpus(
        name=manifest.name,
        utterances=utterances,
        features=read_store_features(root, manifest, names, rows, config.resident_gb),
        levels=tuple(levels),
        shared=tuple(shared),
        classes=emotion_classes(utterances, classes, str(root)),
        synthetic=manifest.synthetic,
        extractors={name: manifest.features[name].extractor for name in names},
    )


def read_store_labels(root: Path, manifest: Manifest, group_column: str = "group") -> tuple[Utterance, ...]:
    """All utterances of a store, verified."""
    path = root / LABELS
    check_whole(path, REMEDY)
    utterances = read_labels(path, group_column)
    if len(utterances) != manifest.utterances:
        raise UserError(f"{path}: {len(utterances)} utterances, the manifest has {manifest.utterances}")
    return utterances


def read_store_features(
    root: Path, manifest: Manifest, names: Sequence[str], rows: NDArray[np.int64], resident_gb: float
) -> dict[str, NDArray[np.floating]]:
    """Rows ``rows`` of the feature sets: loaded and verified, or mapped if they exceed ``resident_gb``."""
    maps = {name: _map(root / f"{name}.npy", manifest) for name in names}
    gigabytes = sum(array.nbytes for array in maps.values()) / GIGABYTE
    if gigabytes > resident_gb:
        return {name: _contiguous(array, rows, gigabytes) for name, array in maps.items()}
    for name in names:
        check_whole(root / f"{name}.npy", REMEDY)
    return {name: np.asarray(array[rows]) for name, array in maps.items()}


def _write(corpus: Corpus, folder: Path, extractors: Mapping[str, Mapping[str, Any]]) -> None:
    write_labels(folder / LABELS, corpus.utterances)
    entries = {
        name: _write_set(corpus, name, folder, dict(extractors.get(name, {})))
        for name in (*corpus.levels, *corpus.shared)
    }
    manifest = Manifest(
        name=corpus.name,
        synthetic=corpus.synthetic,
        classes=list(corpus.classes),
        utterances=len(corpus.utterances),
        features=entries,
    )
    (folder / FILE).write_text(as_json(manifest), encoding="utf-8")


def _write_set(corpus: Corpus, name: str, folder: Path, extractor: dict[str, Any]) -> FeatureEntry:
    dtype = np.float16 if corpus.features[name].dtype == np.float16 else np.float32
    array = np.ascontiguousarray(corpus.features[name], dtype)
    path = folder / f"{check_id(name, 'feature set')}.npy"
    save_npy(path, array)
    return FeatureEntry(
        dtype=array.dtype.name,
        shape=(array.shape[0], array.shape[1]),
        role="level" if name in corpus.levels else "shared",
        extractor=extractor,
        missing=count_missing(name, array, path.name),
    )


def _chosen(config: DataConfig, manifest: Manifest, root: Path) -> tuple[list[str], list[str]]:
    """Names of the levels and of the shared sets to read."""
    levels = config.levels or [name for name in manifest.named("level") if name not in config.shared]
    shared = config.shared or ([] if config.levels else manifest.named("shared"))
    if not levels:
        raise UserError(f"{root}: the store names no acoustic level; name them, data.levels=[a,b,c]")
    require_sets((*levels, *shared), manifest.features, root)
    return levels, shared


def _map(path: Path, manifest: Manifest) -> NDArray[np.floating]:
    array, entry = load_npy(path), manifest.features[path.stem]
    if (array.dtype, array.shape) != (np.dtype(entry.dtype), entry.shape):
        raise UserError(f"{path}: {array.dtype} {array.shape}, the manifest has {entry.dtype} {entry.shape}")
    return check_features(path.stem, array, manifest.utterances, path, entry.missing)


def _contiguous(
    array: NDArray[np.floating], rows: NDArray[np.int64], gigabytes: float
) -> NDArray[np.floating]:
    """``array[rows]`` as a view: indexing by scattered rows would load what was mapped to save memory."""
    first, last = int(rows[0]), int(rows[-1]) + 1
    if last - first != len(rows):
        raise UserError(
            f"data.tests leaves out rows between others of a memory-mapped store; raise data.resident_gb "
            f"above {gigabytes:.1f} to load it, or take all test sets, data.tests=null"
        )
    return array[first:last]
