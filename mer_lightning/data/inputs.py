"""Features to decide on, from a feature store or a feature folder, whatever is known of their labels."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mer_lightning.data.arrays import load_npy
from mer_lightning.data.corpus import check_features
from mer_lightning.data.labels import read_ids
from mer_lightning.data.paths import require_sets
from mer_lightning.data.readers.manifest import FILE as MANIFEST
from mer_lightning.data.readers.manifest import read_manifest
from mer_lightning.data.readers.store import LABELS, read_store_features, read_store_labels
from mer_lightning.errors import UserError

LONGEST_HEADER = 100_000  # characters
ADVICE = "the model needs it; see its model.json"


class Inputs(NamedTuple):
    """N utterances: their ids; feature set -> (N, D), wholly NaN where missing; how each set was made.

    The features may be memory maps. speakers: of each utterance, "" where unknown.
    """

    ids: list[str]
    features: Mapping[str, NDArray[np.floating]]
    extractors: Mapping[str, Mapping[str, Any]]
    speakers: Sequence[str] = ()


def is_store(path: Path) -> bool:
    """Whether there is a feature store."""
    return (path / MANIFEST).is_file()


def is_folder(path: Path) -> bool:
    """Whether there is a feature folder."""
    return any(path.glob("*.npy"))


def inputs_of_store(root: Path, names: Collection[str], resident_gb: float) -> Inputs:
    """All utterances of a store; its features are memory maps if they exceed ``resident_gb``.

    Raises UserError, naming the file, for whatever is damaged or missing.
    """
    manifest = read_manifest(root)
    require_sets(names, manifest.features, root, ADVICE)
    utterances = read_store_labels(root, manifest)
    ids, speakers = [u.id for u in utterances], [u.group for u in utterances]
    features = read_store_features(root, manifest, list(names), np.arange(len(ids)), resident_gb)
    extractors = {name: manifest.features[name].extractor for name in names}
    return Inputs(ids, features, extractors, speakers)


def inputs_of_folder(root: Path, names: Collection[str], group_column: str = "") -> Inputs:
    """All utterances of a feature folder, memory-mapped; their speakers are in ``group_column`` of its table.

    Raises UserError, naming the file, for whatever does not fit together.
    """
    require_sets(names, (path.stem for path in root.glob("*.npy")), root, ADVICE)
    arrays = {name: load_npy(root / f"{name}.npy") for name in names}
    table = _table_of_ids(root)
    if table is None:
        shape = next(iter(arrays.values())).shape
        ids = [f"row_{row}" for row in range(shape[0] if shape else 0)]
        speakers = [""] * len(ids)
    else:
        ids, speakers = read_ids(table, group_column)
    features = {
        name: check_features(name, array, len(ids), root / f"{name}.npy", missing=None)
        for name, array in arrays.items()
    }
    return Inputs(ids, features, {}, speakers)


def _table_of_ids(root: Path) -> Path | None:
    """``labels.csv``, or the one other CSV file with ids; None: there is none."""
    if (root / LABELS).is_file():
        return root / LABELS
    tables = [path for path in sorted(root.glob("*.csv")) if path.is_file() and _has_ids(path)]
    if len(tables) > 1:
        raise UserError(
            f"{root}: {tables[0].name} and {tables[1].name} both have utterance ids; call the one that goes "
            f"with the features {LABELS}"
        )
    return tables[0] if tables else None


def _has_ids(path: Path) -> bool:
    """Whether a CSV file names utterances, and is no earlier prediction."""
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        columns = [cell.strip().strip('"') for cell in file.readline(LONGEST_HEADER).split(",")]
    return "utterance_id" in columns and "predicted_emotion" not in columns
