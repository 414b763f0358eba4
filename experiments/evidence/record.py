"""Which settings the runs of a folder were trained with: what is read and what is trained rests on it."""

import json
from collections.abc import Iterable
from pathlib import Path

from mer_lightning.files.atomic import write_text
from mer_lightning.files.run_directory import RunDirectory


class Record:
    """``settings.json`` in a folder of runs: a run's folder -> its settings, but for what its name says."""

    def __init__(self, output: Path) -> None:
        self.file = output / "settings.json"
        text = self.file.read_text(encoding="utf-8") if self.file.is_file() else "{}"
        self.settings: dict[str, str] = json.loads(text)

    def finished(self, path: Path, settings: str) -> bool:
        """Whether a run is finished, with these settings."""
        return self.settings.get(path.name) == settings and RunDirectory(path).finished

    def add(self, paths: Iterable[Path], settings: str) -> None:
        """These runs have these settings."""
        self.settings |= {path.name: settings for path in paths}
        self.file.parent.mkdir(parents=True, exist_ok=True)
        write_text(self.file, json.dumps(self.settings, indent=1, sort_keys=True) + "\n")
