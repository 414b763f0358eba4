"""What the tests of the experiments share."""

import csv
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from mer_lightning.config.schema import Config
from mer_lightning.files.recorded import Results
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.tasks import fit

Small = Callable[..., Config]


def without_timings(results: Results) -> Results:
    """The same with no seconds."""
    return replace(results, seconds=0, rounds=[replace(r, seconds=0) for r in results.rounds])


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def trained(config: Config, path: Path) -> RunDirectory:
    run = RunDirectory(path)
    fit.run(config, run)
    return run


def unfinish(run: RunDirectory) -> None:
    """As if the run had been killed before its last round."""
    run.results.unlink()
    shutil.rmtree(run.path / "fold_1" / "round_1")
