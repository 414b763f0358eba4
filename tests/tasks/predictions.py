"""A finished run's predictions, written and read again."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from mer_lightning.data.corpus import Corpus
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.tasks import predict
from tests.conftest import composed

EXTRACTORS = {"low": {"encoder": "hubert", "layer": 18}, "face": {"encoder": "manet", "weights": "0a1b"}}


LOW, FACE = [1, 5, 8], [5, 11, 20]  # rows without speech, without a face; of training and test utterances


class Finished(NamedTuple):
    """A run, the store it was trained on, and what is in it."""

    run: RunDirectory
    store: Path
    corpus: Corpus


def predicted(run: RunDirectory, source: Path, output: Path, *overrides: str) -> list[dict[str, str]]:
    config = composed("task=predict", f"model={run.path}", f"input={source}", f"output={output}", *overrides)
    predict.run(config, RunDirectory(output.parent))
    return table(output)


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def check_same(rows: list[dict[str, str]], others: list[dict[str, str]]) -> None:
    """The same decisions, up to float32's rounding."""
    assert len(rows) == len(others) > 0
    for row, other in zip(rows, others, strict=True):
        for key in row.keys() & other.keys() - {"fold", "valence"}:
            if key.startswith(("posterior_", "weight_", "predicted_valence")):
                assert float(row[key]) == pytest.approx(float(other[key]), abs=1e-5), key
            else:
                assert row[key] == other[key]


def write_features(root: Path, features: Mapping[str, np.ndarray]) -> Path:
    root.mkdir()
    for name, array in features.items():
        np.save(root / f"{name}.npy", array)
    return root
