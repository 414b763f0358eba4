"""Small speech models, made once."""

from pathlib import Path

import pytest

from tests.extract.models import KINDS, save


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {kind: save(root / kind, kind) for kind in KINDS}
