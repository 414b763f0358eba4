"""``manifest.json`` of a feature store: what the store holds."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt

from mer_lightning.data.corpus import check_id
from mer_lightning.errors import UserError
from mer_lightning.files.checksums import check_whole
from mer_lightning.files.strict_json import read_json

FILE = "manifest.json"
REMEDY = "write the store again"


@dataclass(frozen=True)
class FeatureEntry:
    """One feature set, in ``NAME.npy``: its (N, D) array, its role, and how it was extracted.

    missing: the number of utterances without these features, whose rows are wholly NaN.
    """

    dtype: Annotated[str, Field(pattern="^float(16|32)$")]
    shape: tuple[int, int]
    role: Literal["level", "shared"]
    extractor: dict[str, Any]
    missing: NonNegativeInt


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A store: its data set and its feature sets by name."""

    schema: Literal[2] = 2
    name: str
    synthetic: bool
    classes: list[str]
    utterances: int
    features: dict[str, FeatureEntry]

    def named(self, role: str) -> list[str]:
        """The feature sets of a role, ``level`` or ``shared``."""
        return [name for name, entry in self.features.items() if entry.role == role]


def read_manifest(root: Path) -> Manifest:
    """The manifest of a store. UserError if there is none, or if it is damaged or unsafe."""
    path = root / FILE
    if not path.is_file():
        raise UserError(
            f"{root}: no feature store, {FILE} is missing; write one with task=import or task=extract"
        )
    check_whole(path, REMEDY)
    manifest = read_json(path, Manifest, REMEDY)
    for name in manifest.features:
        check_id(name, str(path))  # it names a file, which must not lie elsewhere
    return manifest
