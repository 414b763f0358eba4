"""``manifest.json`` of a feature store: what the store holds."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mer_lightning.data.arrays import brief
from mer_lightning.data.corpus import check_id
from mer_lightning.errors import UserError

FILE = "manifest.json"
SCHEMA = 1
ROLES = ("level", "shared")


@dataclass(frozen=True)
class FeatureEntry:
    """One feature set: its file in the store, (N, D) shape, role, and how it was extracted.

    missing: the number of utterances without these features, whose rows are wholly NaN.
    """

    file: str
    dtype: str
    shape: list[int]
    sha256: str
    role: str
    extractor: dict[str, Any]
    missing: int = 0


@dataclass(frozen=True)
class Manifest:
    """A store: its data set, its labels' digest and its feature sets by name."""

    name: str
    synthetic: bool
    classes: list[str]
    utterances: int
    labels_sha256: str
    features: dict[str, FeatureEntry]

    def named(self, role: str) -> list[str]:
        """The feature sets of a role, ``level`` or ``shared``."""
        return [name for name, entry in self.features.items() if entry.role == role]


def write_manifest(root: Path, manifest: Manifest) -> None:
    """Write ``manifest.json``."""
    text = json.dumps({"schema": SCHEMA} | asdict(manifest), indent=2, ensure_ascii=False)
    (root / FILE).write_text(text + "\n", encoding="utf-8")


def read_manifest(root: Path) -> Manifest:
    """The manifest of a store.

    Raises UserError if there is none, or if any entry is of another kind than it should be; file names
    in it are plain names, which cannot leave the store.
    """
    path = root / FILE
    if not path.is_file():
        raise UserError(
            f"{root}: no feature store, {FILE} is missing; write one with task=import or task=extract"
        )
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(data, dict) or data.pop("schema", None) != SCHEMA:
            raise ValueError(
                f"expected schema {SCHEMA}; another version of mer_lightning may have written it"
            )
        features = {name: _entry(name, entry, path) for name, entry in data.pop("features").items()}
        manifest = Manifest(**data, features=features)
        _check(manifest)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UserError(f"{path}: damaged manifest ({brief(error)}); write the store again") from error
    return manifest


def _entry(name: str, data: dict[str, Any], path: Path) -> FeatureEntry:
    entry = FeatureEntry(**data)
    kinds = {"file": str, "dtype": str, "shape": list, "sha256": str, "role": str, "extractor": dict}
    for key, kind in kinds.items():
        if not isinstance(getattr(entry, key), kind):
            raise ValueError(f"features.{name}.{key} is not a {kind.__name__}")
    if type(entry.missing) is not int or entry.missing < 0:
        raise ValueError(f"features.{name}.missing is not a number of rows")
    if entry.role not in ROLES:
        raise ValueError(f"features.{name}.role is {entry.role[:20]!r}, expected one of {ROLES}")
    check_id(name, str(path))
    check_id(entry.file, str(path))
    return entry


def _check(manifest: Manifest) -> None:
    kinds = {"name": str, "synthetic": bool, "classes": list, "utterances": int, "labels_sha256": str}
    for key, kind in kinds.items():
        if not isinstance(getattr(manifest, key), kind):
            raise ValueError(f"{key} is not a {kind.__name__}")
    if not all(isinstance(name, str) for name in manifest.classes):
        raise ValueError("classes are not all text")
