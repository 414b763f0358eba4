"""The command line: ``python -m mer_lightning`` and ``mer-lightning``."""

import os
import sys
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
    "report": "mer_lightning.tasks.report",
}
INTERRUPTED = 130


def conf_folder() -> Path:
    """``conf`` of the wheel, or of the checkout."""
    package = Path(__file__).resolve().parent
    return package / "conf" if (package / "conf").is_dir() else package.parent / "conf"


@hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name="config")
def run(settings: DictConfig) -> None:
    """Check the configuration, then do the task."""
    config = checked(settings)
    directory = RunDirectory(Path(HydraConfig.get().runtime.output_dir))
    try:
        import_module(TASKS[config.task]).run(config, directory)  # late: torch and lightning take seconds
    finally:
        if directory.path.is_dir() and not any(directory.path.iterdir()):
            directory.path.rmdir()  # Hydra makes one for every task


def main() -> None:
    """Run, and show a user's mistake as one line; HYDRA_FULL_ERROR=1 shows where it was raised."""
    register()
    wants_traceback = os.environ.get("HYDRA_FULL_ERROR", "0") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands exceptions on as they are instead of printing them
    try:
        run()
    except (UserError, HydraException, OmegaConfBaseException) as error:
        if wants_traceback:
            raise
        print(f"error: {message_of(error)}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


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
