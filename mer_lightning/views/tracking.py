"""Views of a run on dashboards: W&B, TensorBoard, any Lightning logger. The truth is in the run directory."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from mer_lightning.config.aside import WandbConfig
from mer_lightning.config.schema import Config
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.views.tracker import OpenSink, Tracker


class Trackers(list[Tracker]):
    """The dashboards of a run, one for each entry of ``logger``."""

    def start(self) -> None:
        """The run begins or goes on; its directory is known to be right."""
        for tracker in self:
            tracker.start()

    def results(self) -> None:
        """The run directory holds a finished run, its figures included."""
        for tracker in self:
            tracker.results()


@contextmanager
def tracking(config: Config, run: RunDirectory) -> Iterator[Trackers]:
    """The trackers that ``logger=...`` asks for; they are closed with the block, however that ends.

    Nothing is opened or written before their ``start``. Of processes that share a fit, only rank 0 comes
    here (``tasks/fit.py``).
    Raises UserError where a dashboard cannot be logged into, or its package is missing.
    """
    trackers = Trackers(Tracker(run, name, opener(config, run, name)) for name in config.logger)
    failed = True
    try:
        yield trackers
        failed = False
    finally:
        for tracker in trackers:
            tracker.close(failed)


def opener(config: Config, run: RunDirectory, name: str) -> OpenSink:
    """What opens a dashboard. UserError where it cannot be used."""
    if name == "tensorboard":
        from mer_lightning.views.tensorboard import TensorBoardSink, check_installed

        check_installed()
        return partial(TensorBoardSink, run)
    if name != "wandb":
        from mer_lightning.views.loggers import LoggerSink

        return partial(LoggerSink, config, run, name)
    from mer_lightning.views.wandb import WandbSink, check_login

    if WandbConfig(**config.logger["wandb"]).mode == "online":
        check_login()
    return partial(WandbSink, config, run)
