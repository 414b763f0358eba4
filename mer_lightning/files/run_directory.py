"""The one place that names the files of a run, and says what of it is done, damaged or left over."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from mer_lightning.errors import UserError, reading
from mer_lightning.files.atomic import UNFINISHED
from mer_lightning.files.checksums import CHECKSUMS, damaged
from mer_lightning.files.plain_yaml import read_yaml
from mer_lightning.files.recorded import Fingerprint, Results
from mer_lightning.files.strict_json import read_json

# what a run replaces as a whole, or writes into
FOLDERS = (
    "fold_*",
    "fold_*/*",
    "model",
    "figures",
    "reference",
    "members",
    "tensorboard",
    "wandb",
    "callbacks",
)


@dataclass(frozen=True)
class RoundFolder:
    """``fold_F/round_R/``: what one round leaves behind; it is there only when whole."""

    path: Path

    @property
    def done(self) -> bool:
        """Whether the round is finished."""
        return self.checksums.is_file()

    @property
    def checksums(self) -> Path:
        """Hashes of the others, written last."""
        return self.path / CHECKSUMS

    @property
    def record(self) -> Path:
        """Numbers of the round, JSON."""
        return self.path / "round.json"

    @property
    def network(self) -> Path:
        """Stem of the compact network's two files."""
        return self.path / "network"

    def decisions(self, part: str) -> Path:
        """Decisions on ``held_out``, ``stopping`` or ``test`` utterances."""
        return self.path / f"{part}.safetensors"


@dataclass(frozen=True)
class RunDirectory:
    """A run's files under ``path``."""

    path: Path

    @property
    def config(self) -> Path:
        """The configuration, resolved."""
        return self.path / "config.yaml"

    @property
    def data(self) -> Path:
        """Hashes of the data, so that a run is not continued on others."""
        return self.path / "data.json"

    @property
    def results(self) -> Path:
        """The figures; a run that has this file is finished."""
        return self.path / "results.json"

    @property
    def rounds(self) -> Path:
        """One row per round."""
        return self.path / "rounds.csv"

    @property
    def predictions(self) -> Path:
        """One row per utterance, of the chosen round; for people."""
        return self.path / "predictions.csv"

    @property
    def decisions(self) -> Path:
        """The same decisions in full precision, which the report reads."""
        return self.path / "decisions.safetensors"

    @property
    def folds(self) -> Path:
        """The fold of every utterance of Train&Val."""
        return self.path / "folds.csv"

    @property
    def figures(self) -> Path:
        """Folder of pictures."""
        return self.path / "figures"

    @property
    def report(self) -> Path:
        """The run's own page."""
        return self.path / "report.html"

    @property
    def model(self) -> Path:
        """Folder of the chosen round's compact networks."""
        return self.path / "model"

    @property
    def reference(self) -> Path:
        """The PNAO run that a control made for itself to match."""
        return self.path / "reference"

    @property
    def members(self) -> Path:
        """The runs of the systems that this run combines."""
        return self.path / "members"

    @property
    def error(self) -> Path:
        """Why the run failed as one of a sweep's settings; removed when it succeeds later."""
        return self.path / "error.txt"

    @property
    def tensorboard(self) -> Path:
        """Folder of TensorBoard's files; W&B makes ``wandb/`` by itself."""
        return self.path / "tensorboard"

    @property
    def callbacks(self) -> Path:
        """Folder for what callbacks of the user's write."""
        return self.path / "callbacks"

    def tracker(self, kind: str) -> Path:
        """What a dashboard (``wandb``, ``tensorboard``) was told already."""
        return self.path / f"tracker_{kind}.json"

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return self.results.is_file()

    def fold(self, fold: int) -> Path:
        """The folder of a fold's rounds."""
        return self.path / f"fold_{fold}"

    def round(self, fold: int, number: int) -> RoundFolder:
        """The folder of one round on one fold."""
        return RoundFolder(self.fold(fold) / f"round_{number}")

    def read_results(self) -> Results:
        """``results.json``. UserError if the run is not finished."""
        if not self.finished:
            raise UserError(f"{self.path}: not a finished run, it has no results.json")
        return read_json(self.results, Results, "delete it, and the same command writes it again")

    def read_config(self) -> dict[str, Any]:
        """The saved configuration."""
        with reading(self.config, "restore it, or choose another hydra.run.dir"):
            return dict(read_yaml(self.config.read_text(encoding="utf-8")))

    def read_fingerprint(self) -> Fingerprint:
        """What the run's data were: see ``Corpus.fingerprint``."""
        return read_json(self.data, Fingerprint, "restore it, or choose another hydra.run.dir")

    def refuse_foreign(self) -> None:
        """A UserError for a folder that holds something, and not a run: nothing of it may be replaced.

        Nor may what links in a run from elsewhere point at.
        """
        begun = {".lock", self.error.name, *(p.name for p in self.path.glob(f".config.yaml.*{UNFINISHED}"))}
        if not self.config.is_file() and set(os.listdir(self.path)) - begun:  # noqa: PTH208
            raise UserError(
                f"{self.path} is not empty and holds no run of this program; choose another hydra.run.dir"
            )
        if links := [path for name in FOLDERS for path in self.path.glob(name) if path.is_symlink()]:
            raise UserError(
                f"{links[0]}: a link; put the folder there that it points at, or choose another run"
            )

    def best_round(self) -> int:
        """The round a finished run chose."""
        return self.read_results().best_round

    def sweep_up(self) -> None:
        """Remove what a killed process left half-written."""
        for path in [*self.path.glob(f".*{UNFINISHED}"), *self.path.glob(f"fold_*/.*{UNFINISHED}")]:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()

    def unmark_damage(self) -> list[str]:
        """Let rounds with a damaged file, and those trained after them, count as unfinished; say which."""
        notes = []
        for fold in sorted(self.path.glob("fold_*")):
            names = (path.name.removeprefix("round_") for path in fold.glob("round_*"))
            numbers = sorted(int(name) for name in names if name.isdecimal())
            rounds = [RoundFolder(fold / f"round_{number}") for number in numbers]
            for place, folder in enumerate(rounds):
                whole = folder.done and numbers[place] == place  # else one before it is missing
                name = damaged(folder.path) if whole else None
                if whole and name is None:
                    continue
                if name is not None:
                    before = f"going on from round {place - 1}" if place else "starting again"
                    notes.append(f"{folder.path / name} is damaged, its hash is another: {before} there")
                for later in rounds[place:]:
                    later.checksums.unlink(missing_ok=True)
                break
        return notes

    def wait_until_free(self, seconds: float) -> None:
        """Wait until no process holds the directory, at most so long; a lost machine's lock outlives it."""
        if (self.path / ".lock").exists():
            with suppress(Timeout), FileLock(self.path / ".lock", timeout=seconds):
                pass

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the directory against a second process. UserError if another holds it."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.path / ".lock")
            lock.acquire(timeout=0)
        except Timeout as error:
            raise UserError(
                f"{self.path}: another process is working in this run directory; wait for it or choose "
                "another hydra.run.dir"
            ) from error
        except OSError as error:
            raise UserError(
                f"{self.path}: cannot be written: {error.strerror}; choose another hydra.run.dir"
            ) from error
        try:
            yield
        finally:
            if os.listdir(self.path) == [".lock"]:  # noqa: PTH208  (nothing was written: leave no trace)
                (self.path / ".lock").unlink()
            lock.release()
