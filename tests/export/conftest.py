"""A model written for torch, once."""

from pathlib import Path

import pytest

from mer_lightning.export.module import (
    export,
)
from mer_lightning.results.predictor import Predictor
from tests.export.helpers import PRUNED, TRANSFORMER, made


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Predictor, Path]:
    """A model of two systems, and its file for torch."""
    predictor = made(PRUNED, TRANSFORMER, ensemble="logit")
    path = tmp_path_factory.mktemp("exported") / "new" / "model.pt2"
    report = export(predictor, {"experiment": "final"}, path, "torch")
    assert report.size == path.stat().st_size
    assert report.difference < 1e-5
    return predictor, path
