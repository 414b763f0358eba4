"""A sweep: many settings from one command, in one folder; one that fails does not stop the others.

A job notes its failure in its own folder and ends in order, so that every launcher goes on; the process that
started the sweep then names the failed settings and sets the finished ones side by side.
"""

import os
import shlex
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mer_lightning.config.identity import unswept
from mer_lightning.config.job import alongside, in_a_sweep, setting_name, sweep_folder
from mer_lightning.config.mistakes import users_mistake
from mer_lightning.config.plugins import parsed
from mer_lightning.config.schema import Config
from mer_lightning.config.unused import IDLE, unused
from mer_lightning.errors import UserError, one_line
from mer_lightning.files.atomic import write_text
from mer_lightning.files.run_directory import RunDirectory

MARK = "A sweep failed here.\nerror: "  # so begin our notes; another error.txt is not ours to replace


class Sweep(Callback):
    """What Hydra calls before the first job of a sweep and after the last; see ``conf/config.yaml``."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Let this process know the sweep as its jobs do; remember the failures of earlier times."""
        HydraConfig.instance().set_config(config)
        self.noted = dict(notes(sweep_folder()))

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Sum up. A failure ends the process: of another exception Hydra would make a warning."""
        try:
            sum_up(sweep_folder(), self.noted)
        except Exception as error:
            message = users_mistake(error) or f"the sweep cannot be summed up: {described(error)}"
            raise SystemExit(f"error: {message}") from error


def refuse_unnamed(overrides: list[str]) -> None:
    """A UserError for a sweep over a key that the settings' folders leave out, or into a run's folder."""
    if any(override.key_or_group == "hydra.run.dir" for override in parsed(overrides)):
        raise UserError(
            "hydra.run.dir is for one run; with -m, hydra.sweep.dir names the folder of the sweep"
        )
    swept = [override.key_or_group for override in parsed(overrides) if override.is_sweep_override()]
    if unnamed := sorted(key for key in swept if key in unswept() or key.startswith("logger.")):
        if unnamed[0] in ("data.levels", "data.shared"):
            raise UserError(
                f"{unnamed[0]}: cannot be swept; name the choices, data.sets.one.levels=[a,b] "
                "data.sets.one.shared=[c] data.sets.two.levels=[a], and sweep data.features=one,two"
            )
        raise UserError(
            f"{unnamed[0]}: cannot be swept, the settings' folders are named without it; give each value a "
            "run or a sweep of its own, with its own hydra.run.dir or hydra.sweep.dir"
        )


def leave_out_unused(settings: DictConfig) -> None:
    """Of a grid over systems, what is given and one of them does not use: a note, not a failure."""
    if not in_a_sweep():
        return
    given = [override.key_or_group for override in parsed(HydraConfig.get().overrides.task)]
    reasons: dict[str, list[str]] = {}
    idle = unused(settings)
    for key in dict.fromkeys(key for key in given if key in idle):
        reasons.setdefault(idle[key], []).append(key)
        if key in IDLE:
            OmegaConf.update(settings, key, IDLE[key])
    for why, keys in reasons.items():
        print(f"note: {settings.experiment_name} {why}: {', '.join(keys)} left out")


def sharing(config: Config) -> Config:
    """For a job that shares the machine as many processes as the launcher gives it cores, or one.

    Unless ``folds.workers`` says how many.
    """
    if alongside() and config.folds.workers == "auto":
        workers = max(1, int(HydraConfig.get().launcher.get("cpus", 1)))
        return replace(config, folds=replace(config.folds, workers=workers))
    return config


def attempt(directory: RunDirectory, work: Callable[[], None]) -> float | tuple[float, float] | None:
    """A job: do the work, or note why not. Returns the objectives of a finished run, else None.

    Jobs side by side print one line at their end instead of talking all at once.
    """
    name = setting_name(directory.path)
    try:
        count = objective_count()
        if alongside():
            with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
                work()
            print(f"finished  {name}", flush=True)
        else:
            work()
        return objectives(directory)[count] if directory.finished else None
    except Exception as error:  # one failure must not stop the others
        message = users_mistake(error)
        trace = "" if message else "\n" + "".join(traceback.format_exception(error))
        message = message or described(error)
        forget_failure(directory)
        if directory.error.exists():
            raise UserError(f"{directory.error} exists, and no sweep wrote it; move it") from error
        write_text(directory.error, f"{MARK}{message}\n{trace}")
        print(f"failed    {name}: {message}", file=sys.stderr, flush=True)
        return None


def described(error: Exception) -> str:
    """An error's kind and message in a line."""
    return f"{type(error).__name__}: {one_line(error)[:300]}"


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


def sum_up(folder: Path, noted: dict[Path, int]) -> None:
    """Show and write what the settings came to. UserError, naming them, if any failed after ``noted``."""
    from mer_lightning.views.terminal import show_sweep  # late: torch and matplotlib take seconds

    if not folder.is_dir():  # nothing was begun
        return
    show_sweep(folder)
    failed = [path for path, time in notes(folder) if noted.get(path) != time]
    for path in failed:
        reason = path.read_text(encoding="utf-8").removeprefix(MARK).splitlines()[0]
        print(f"failed    {path.parent.relative_to(folder)}: {reason}", file=sys.stderr)
    if failed:
        names = "; ".join(str(path.parent.relative_to(folder)) for path in failed)
        raise UserError(
            f"{len(failed)} of the settings failed: {names}. The reasons are above, and in {failed[0].name} "
            "in their folders. Fix them, and the same command with the same hydra.sweep.dir does the rest"
        )


def continue_command() -> str:
    """The command that goes on with this sweep."""
    given = [a for a in sys.argv[1:] if not a.startswith("hydra.sweep.dir=")]
    return shlex.join(["python", "-m", "mer_lightning", *given, f"hydra.sweep.dir={sweep_folder()}"])


def say_how_to_continue() -> None:
    """After Ctrl-C, for a sweep."""
    if in_a_sweep():
        print(f"interrupted; the finished settings and rounds are kept. Continue with: {continue_command()}")


def cut_short(error: Exception) -> str | None:
    """What to tell of an error that ended the launcher, such as a job that was killed; sums up what there is.

    None outside a sweep, and where the sweep was refused as a whole.
    """
    if not in_a_sweep() or isinstance(error, UserError | HydraException | OmegaConfBaseException):
        return None
    with suppress(UserError):
        sum_up(sweep_folder(), {})
    return (
        f"the sweep was cut short, {described(error)}; what is finished is kept. Continue with: "
        f"{continue_command()}"
    )


def without_trace() -> Path | None:
    """The folder of a sweep that was refused before its first job, once Hydra's file in it is removed."""
    folder = sweep_folder() if in_a_sweep() else None
    if folder and folder.is_dir() and [path.name for path in folder.iterdir()] == ["multirun.yaml"]:
        (folder / "multirun.yaml").unlink()
        return folder.absolute()
    return None
