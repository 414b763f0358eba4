"""The user's module, imported as a plugin and forgotten again."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra.core.config_store import ConfigStore

from mer_lightning.config.registry import WITH_SETTINGS

MODULE = Path(__file__).parent / "my_parts.py"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with ``my_parts.py``; what it registers is gone afterwards."""
    shutil.copy(MODULE, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("my_parts", None)
    for registry in WITH_SETTINGS:
        for name in list(registry.plugins):
            del registry[name], registry.plugins[name]
            ConfigStore.instance().repo.get(registry.key.partition(".")[0], {}).pop(f"{name}.yaml", None)
