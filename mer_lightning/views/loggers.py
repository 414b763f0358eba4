"""Any logger of Lightning's as a dashboard: it gets the rows that W&B gets."""

from typing import Any

from lightning.pytorch.loggers.logger import Logger

from mer_lightning.config.schema import Config
from mer_lightning.config.target import made
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.report.runs import FinishedRun
from mer_lightning.views.identity import run_name, shown_settings
from mer_lightning.views.scalars import LoggedRow, best_values
from mer_lightning.views.tracker import Memory

GOES_ON_BY = (
    "run_id",
    "experiment_key",
    "id",
)  # arguments that name a run to go on in; others begin a new one


class LoggerSink:
    """``logger.NAME._target_``. It is given the run's folder and name, if it names such arguments."""

    def __init__(self, config: Config, run: RunDirectory, name: str, memory: Memory) -> None:
        offered: dict[str, Any] = {"save_dir": str(run.path), "run_name": run_name(config, run)}
        if memory.there:
            offered |= dict.fromkeys(GOES_ON_BY, memory.there)
        self.logger = made(f"logger.{name}", config.logger[name], Logger, offered)
        if not memory.there:
            self.logger.log_hyperparams(shown_settings(config))
        memory.there = str(self.logger.version)

    def log(self, number: int, row: LoggedRow) -> None:
        """The values, at their epoch or round: a row that comes again after a kill falls on itself."""
        self.logger.log_metrics({row.axis: float(row.at), **row.values}, step=row.at)

    def flush(self) -> None:
        """Write them."""
        self.logger.save()

    def results(self, run: FinishedRun, number: int) -> None:
        """The best scores."""
        self.logger.log_metrics(best_values(run.results), step=run.results.best_round)

    def close(self, failed: bool) -> None:
        """End the run there."""
        self.logger.finalize("failed" if failed else "success")
