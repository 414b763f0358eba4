"""The command line: ``python -m mer_lightning`` and ``mer-lightning``."""

import os
import re
import sys
import time
from importlib import import_module
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from mer_lightning.config import checked, register
from mer_lightning.errors import UserError
from mer_lightning.run_directory import RunDirectory

TASKS = {
    "fit": "mer_lightning.tasks.fit",
    "import": "mer_lightning.tasks.import_store",
    "extract": "mer_lightning.tasks.extract",
    "predict": "mer_lightning.tasks.predict",
    "export": "mer_lightning.tasks.export",
    "demo": "mer_lightning.tasks.demo",
    "report": "mer_lightning.tasks.report",
}
INTERRUPTED = 130
STARTED = time.time()


def conf_folder() -> Path:
    """``conf`` of the wheel, or of the checkout."""
    package = Path(__file__).resolve().parent
    return package / "conf" if (package / "conf").is_dir() else package.parent / "conf"


@hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name="config")
def run(settings: DictConfig) -> None:
    """Check the configuration, then do the task."""
    directory = RunDirectory(Path(HydraConfig.get().runtime.output_dir))
    try:
        config = checked(settings)
        import_module(TASKS[config.task]).run(config, directory)  # late: torch and lightning take seconds
    finally:
        remove_empty(directory.path)


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
    register()
    sys.argv[1:] = [spelled_out(argument) for argument in sys.argv[1:]]
    wants_traceback = os.environ.get("HYDRA_FULL_ERROR", "0") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands exceptions on as they are instead of printing them
    try:
        run()
    except (UserError, HydraException, OmegaConfBaseException) as error:
        if wants_traceback:
            raise
        print(f"error: {message_of(error)}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        if wants_traceback or error.filename is None:
            raise
        print(f"error: {error.filename}: {error.strerror}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


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
    if re.search(r"[^\w./~-]", value) and Path(value).expanduser().exists():
        value = "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return f"{key}={value}"


def message_of(error: Exception) -> str:
    """The message in one line: Hydra and OmegaConf spread theirs over several."""
    if isinstance(error, OverrideParseException):
        return f"{error.override!r} is not a valid override: {one_line(error).split(' See https')[0]}"
    return one_line(error)


def one_line(error: Exception) -> str:
    """Without line breaks."""
    return " ".join(str(error).split())


if __name__ == "__main__":
    main()
