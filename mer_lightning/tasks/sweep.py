"""A sweep: many settings from one command, in one folder; one that fails does not stop the others.

A job notes its failure in its own folder and ends in order, so that every launcher goes on; the process that
started the sweep then names the failed settings and sets the finished ones side by side.
"""

import os
import shlex
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mer_lightning.config.schema import Config
from mer_lightning.errors import UserError, one_line, users_mistake
from mer_lightning.files.atomic import write_text
from mer_lightning.files.run_directory import RunDirectory

SIDE_BY_SIDE = ("joblib", "ray", "submitit_local")  # launchers whose jobs share this machine
MARK = "A sweep failed here.\nerror: "  # so begin our notes; another error.txt is not ours to replace


@dataclass(frozen=True)
class Begun:
    """The sweep that this process started."""

    folder: Path
    new: bool  # the folder was not there before
    noted: dict[Path, int]  # failures that were noted there before, and when


begun: Begun | None = None


class Remember(Callback):
    """Hydra's way to tell where a sweep goes before its first job starts; see ``conf/config.yaml``."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Remember the folder and the failures of earlier times."""
        global begun
        folder = Path(config.hydra.sweep.dir)
        begun = Begun(folder, not folder.exists(), dict(notes(folder)))


def refuse_unnamed(overrides: list[str], configuration: Path) -> None:
    """A UserError for a sweep over a key that the names of the settings' folders leave out.

    configuration: the file that names these keys, ``conf/config.yaml``.
    """
    try:
        parsed = OverridesParser.create().parse_overrides(overrides)
    except HydraException:  # Hydra will say
        return
    hydra = yaml.safe_load(configuration.read_text(encoding="utf-8"))["hydra"]
    left_out = hydra["job"]["config"]["override_dirname"]["exclude_keys"]
    swept = [override.key_or_group for override in parsed if override.is_sweep_override()]
    if unnamed := sorted(set(swept) & set(left_out)):
        raise UserError(
            f"{unnamed[0]}: cannot be swept, the settings' folders are named without it; give each value a "
            "run or a sweep of its own, with its own hydra.run.dir or hydra.sweep.dir"
        )


def in_a_sweep() -> bool:
    """Whether this is one of a sweep's jobs."""
    return bool(HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN)


def alongside() -> bool:
    """Whether the sweep's other jobs run on this machine at the same time."""
    return in_a_sweep() and HydraConfig.get().runtime.choices["hydra/launcher"] in SIDE_BY_SIDE


def sharing(config: Config) -> Config:
    """One process for a job that shares the machine, unless ``folds.workers`` says how many."""
    if alongside() and config.folds.workers == "auto":
        return replace(config, folds=replace(config.folds, workers=1))
    return config


def attempt(directory: RunDirectory, work: Callable[[], None]) -> float | tuple[float, float] | None:
    """A job: do the work, or note why not. Returns the objectives of a finished run, else None.

    Jobs side by side print one line at their end instead of talking all at once.
    """
    name = setting_name(directory)
    try:
        count = objective_count()
        if alongside():
            with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
                work()
            print(f"finished  {name}", flush=True)
        else:
            work()
        return objectives(directory)[count] if directory.finished else None
    except Exception as error:  # whatever it is, the other settings are none the worse for it
        message = users_mistake(error)
        trace = "" if message else "\n" + "".join(traceback.format_exception(error))
        message = message or f"{type(error).__name__}: {one_line(error)}"
        forget_failure(directory)
        if directory.error.exists():
            raise UserError(f"{directory.error} is in the way, and not of a sweep; move it") from error
        write_text(directory.error, f"{MARK}{message}\n{trace}")
        print(f"failed    {name}: {message}", file=sys.stderr, flush=True)
        return None


def setting_name(directory: RunDirectory) -> str:
    """The folder below the sweep's."""
    return os.path.relpath(directory.path, HydraConfig.get().sweep.dir)


def objective_count() -> int:
    """How many objectives the sweeper has: one or two. UserError if they are others than ours."""
    direction = HydraConfig.get().sweeper.get("direction", "maximize")
    given = [getattr(d, "name", d) for d in (direction if OmegaConf.is_list(direction) else [direction])]
    if given not in (["maximize"], ["maximize", "minimize"]):
        raise UserError(
            f"hydra.sweeper.direction={','.join(given)}: expected maximize (the score) or "
            "[maximize,minimize] (the score, the parameters); hydra/sweeper=search says so"
        )
    return len(given)


def objectives(directory: RunDirectory) -> dict[int, float | tuple[float, float]]:
    """What a sweeper judges a run by: the score that chose its round, on validation; or that and its size."""
    best = directory.read_results().best
    return {1: best.selection, 2: (best.selection, float(best.parameters))}


def forget_failure(directory: RunDirectory) -> None:
    """Remove the note of an earlier failure."""
    if directory.error.is_file() and directory.error.read_text(encoding="utf-8").startswith(MARK):
        directory.error.unlink()


def notes(folder: Path) -> Iterator[tuple[Path, int]]:
    """The notes of failures below a folder, and when they were written. None lies inside another run."""
    for child in sorted(folder.iterdir()) if folder.is_dir() else []:
        run = RunDirectory(child)
        if run.error.is_file():
            yield run.error, run.error.stat().st_mtime_ns
        elif child.is_dir() and not child.name.startswith(".") and not run.config.is_file():
            yield from notes(child)


@contextmanager
def summed_up() -> Iterator[None]:
    """Around the whole sweep: its table and picture at the end. UserError if a setting failed.

    What ends a launcher, such as a job that was killed, is a UserError too: the same command goes on.
    Without a sweep it does nothing.
    """
    try:
        yield
    except (UserError, HydraException, OmegaConfBaseException):
        raise  # refused as a whole
    except Exception as error:
        if begun is None:
            raise
        sum_up(begun)
        raise UserError(
            f"the sweep was cut short, {type(error).__name__}: {one_line(error)[:300]}; what is finished is "
            f"kept. Continue with: {continue_command(begun)}"
        ) from error
    if begun is not None:
        sum_up(begun)


def sum_up(sweep: Begun) -> None:
    """Show and write what the settings came to. UserError, naming them, if any of this sweep failed."""
    from mer_lightning.report.sweep import show_sweep  # late: matplotlib and scipy take a second

    show_sweep(sweep.folder)
    failed = [path for path, time in notes(sweep.folder) if sweep.noted.get(path) != time]
    for path in failed:
        reason = path.read_text(encoding="utf-8").removeprefix(MARK).splitlines()[0]
        print(f"failed    {path.parent.relative_to(sweep.folder)}: {reason}", file=sys.stderr)
    if failed:
        names = "; ".join(short_names(sweep.folder, [path.parent for path in failed]))
        raise UserError(
            f"{len(failed)} of the settings failed: {names}. The reasons are above, and in {failed[0].name} "
            "in their folders. Mend them, and the same command with the same hydra.sweep.dir does the rest"
        )


def short_names(folder: Path, settings: Sequence[Path]) -> list[str]:
    """The names of settings without what all in the folder have in common."""
    everyone = [path.name.split(",") for path in folder.iterdir() if path.is_dir() and "=" in path.name]
    common = set(everyone[0]).intersection(*everyone) if len(everyone) > 1 else set()
    parts = [[part for part in path.name.split(",") if part not in common] for path in settings]
    return [",".join(own) or path.name for own, path in zip(parts, settings, strict=True)]


def continue_command(sweep: Begun) -> str:
    """The command that goes on with this sweep."""
    given = [a for a in sys.argv[1:] if not a.startswith("hydra.sweep.dir=")]
    return shlex.join(["python", "-m", "mer_lightning", *given, f"hydra.sweep.dir={sweep.folder}"])


def say_how_to_continue() -> None:
    """After Ctrl-C, for a sweep."""
    if begun is not None:
        print(
            "interrupted; the finished settings and rounds are kept. Continue with: "
            f"{continue_command(begun)}"
        )


def without_trace() -> Path | None:
    """The folder of a sweep that was refused before its first job, once Hydra's file in it is removed."""
    if begun is None or not begun.new or not begun.folder.is_dir():
        return None
    if [path.name for path in begun.folder.iterdir()] == ["multirun.yaml"]:
        (begun.folder / "multirun.yaml").unlink()
        return begun.folder.absolute()
    return None
