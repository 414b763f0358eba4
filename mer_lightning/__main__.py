"""The command line: ``python -m mer_lightning`` and ``mer-lightning``."""

import os
import re
import sys
import time
from argparse import Namespace
from importlib import import_module
from pathlib import Path
from typing import NoReturn

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from mer_lightning.config.compose import checked, conf_folder, register
from mer_lightning.config.job import in_a_sweep
from mer_lightning.config.mistakes import users_mistake
from mer_lightning.config.registry import TASKS
from mer_lightning.errors import UserError
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.tasks import sweep
from mer_lightning.training.signals import exit_code, requeue, stop_like_ctrl_c
from mer_lightning.training.workers import import_ahead

STARTED = time.time()


@hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name="config")
def run(settings: DictConfig) -> float | tuple[float, float] | None:
    """Do the task; as one of a sweep's jobs, return what a sweeper judges it by."""
    directory = RunDirectory(Path(HydraConfig.get().runtime.output_dir))
    try:
        if in_a_sweep():
            return sweep.attempt(directory, lambda: work(settings, directory))
        work(settings, directory)
        return None
    finally:
        remove_empty(directory.path)


def work(settings: DictConfig, directory: RunDirectory) -> None:
    """Check the configuration, then do the task."""
    sweep.leave_out_unused(settings)
    config = sweep.sharing(checked(settings))
    if config.task == "fit" and config.folds.workers != 1 and config.trainer.devices == 1:
        import_ahead()
    task = import_module(f"mer_lightning.tasks.{TASKS[config.task].module}")  # late: torch takes seconds
    task.run(config, directory)
    sweep.forget_failure(directory)


def remove_empty(path: Path) -> None:
    """Remove the folder that Hydra makes for every task, and those above it, where nothing was written.

    Folders older than this process are the user's; the current one and those above it are, too.
    """
    for folder in (path, *path.parents):
        try:
            if folder in (Path.cwd(), *Path.cwd().parents) or folder.stat().st_ctime < STARTED - 1:
                return
            folder.rmdir()
        except OSError:  # not empty, or another process that began in the same second was quicker
            return


def main() -> None:
    """Run, and show a user's mistake as one line; HYDRA_FULL_ERROR=1 shows where it was raised."""
    stop_like_ctrl_c()
    sys.argv[1:] = [spelled_out(argument) for argument in sys.argv[1:]]
    wants_traceback = os.environ.get("HYDRA_FULL_ERROR", "0") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands exceptions on as they are instead of printing them
    try:
        options = known_options(sys.argv[1:])
        folders = [Path(x) for x in (options.config_dir, options.config_path) if x]
        register(options.overrides, folders)
        if options.multirun:
            sweep.refuse_unnamed(options.overrides)
        run()
    except Exception as error:
        message = sweep.cut_short(error) or users_mistake(error)
        if wants_traceback or message is None:
            raise
        if refused := sweep.without_trace():
            remove_empty(refused)
        print(f"error: {message}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt as interrupt:
        sweep.say_how_to_continue()
        if problem := requeue(interrupt):
            print(f"error: {problem}", file=sys.stderr)
        sys.exit(exit_code(interrupt))


def known_options(arguments: list[str]) -> Namespace:
    """The arguments as Hydra takes them apart.

    Raises UserError for an option that Hydra does not have, or that we do not: its rerun loads a pickle.
    """
    parser = get_args_parser()
    parser.error = refuse_options  # type: ignore[method-assign]
    known, unknown = parser.parse_known_args(arguments)
    options = [argument for argument in unknown if argument.startswith("-")]
    if known.experimental_rerun is not None:
        options.append("--experimental-rerun")
    if options:
        raise UserError(f"unknown option {options[0]!r}; settings are given as key=value, see --help")
    return known


def refuse_options(message: str) -> NoReturn:
    """A UserError for what is no option, such as ``-model=DIR``, instead of argparse's exit."""
    raise UserError(f"{message}; settings are given as key=value, see --help")


def spelled_out(argument: str) -> str:
    """An argument as Hydra takes it.

    ``model=DIR`` is short for ``model.path=DIR``: it names a directory, and ``model.fold`` one of its folds,
    but for Hydra both are keys of one group. A value that is a path which exists is quoted, because Hydra
    would read the ``=`` and ``,`` in the names of a sweep's folders as its own.
    """
    key, equals, value = argument.partition("=")
    if not equals or key.startswith("-"):
        return argument
    key = "model.path" if key == "model" else key
    if value.startswith("~/"):  # shells leave it alone after some keys, and Hydra refuses it
        value = str(Path(value).expanduser())
    if re.search(r"[^\w./-]", value) and exists(value):
        value = "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return f"{key}={value}"


def exists(value: str) -> bool:
    """Whether a value is a path that is there."""
    try:
        return Path(value).exists()
    except OSError:  # too long for a name
        return False


if __name__ == "__main__":
    main()
