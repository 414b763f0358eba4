"""Small data sets on disk, and the configuration that reads them."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mer_lightning.config.groups import DataConfig
from mer_lightning.data.corpus import Corpus, Utterance

RAVDESS = Path(__file__).parents[3] / "shared" / "data" / "ravdess"
needs_ravdess = pytest.mark.skipif(not RAVDESS.is_dir(), reason=f"no RAVDESS features at {RAVDESS}")

LABELS = """\
utterance_id,emotion,valence,split,speaker,fold
u0,happy,1.5,train,ann,0
u1,sad,-2,train,ann,0
u2,happy,,val,bob,1
u3,,0.25,train,bob,1
u4,sad,-1,test1,cat,
u5,happy,2,test2,cat,
"""


def data_config(reader: str = "folder", root: Path | str | None = None, **changes: Any) -> DataConfig:
    settings: dict[str, Any] = {
        "reader": reader,
        "root": None if root is None else str(root),
        "levels": ["a", "b"],
        "shared": ["c"],
        "labels": None,
        "classes": [],
        "tests": None,
        "test_fold": None,
        "folds": 5,
        "group": "speaker",
        "size": "small",
        "resident_gb": 8.0,
    }
    return DataConfig(**(settings | changes))


def feature_folder(root: Path, labels: str = LABELS, seed: int = 0) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    (root / "labels.csv").write_text(labels, encoding="utf-8")
    rng = np.random.default_rng(seed)
    n = len(labels.splitlines()) - 1
    for name, dimension in {"a": 3, "b": 4, "c": 5}.items():
        np.save(root / f"{name}.npy", rng.standard_normal((n, dimension), dtype=np.float32))
    return root


def small_corpus(utterances: Sequence[Utterance], dtype: str = "float32", seed: int = 0) -> Corpus:
    rng = np.random.default_rng(seed)
    n = len(utterances)
    return Corpus(
        name="small",
        utterances=tuple(utterances),
        features={
            name: rng.standard_normal((n, d)).astype(dtype) for name, d in {"a": 3, "b": 4, "c": 5}.items()
        },
        levels=("a", "b"),
        shared=("c",),
        classes=tuple(sorted({u.emotion for u in utterances} - {""})),
    )


def same_utterances(one: Sequence[Utterance], other: Sequence[Utterance]) -> bool:
    """Equality in which an unknown valence equals another."""
    return [repr(u) for u in one] == [repr(u) for u in other]


UTTERANCES = [
    Utterance(f"u{i}", ("happy", "sad", "")[i % 3], (1.25, math.nan)[i % 2], split, "ann", i % 4 - 1)
    for i, split in enumerate(["train", "train", "val", "test1", "test2", "train", "test1"])
]


def store_config(root: Path, **changes: Any) -> Any:
    return data_config("store", root, **({"levels": [], "shared": []} | changes))
