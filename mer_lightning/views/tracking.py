"""Views of a run on a dashboard: W&B, TensorBoard. The truth stays in the run directory."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from mer_lightning.config.schema import Config
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.views.tracker import NullTracker, OpenSink, Tracker

__all__ = ["NullTracker", "tracking"]


@contextmanager
def tracking(config: Config, run: RunDirectory) -> Iterator[NullTracker]:
    """The tracker that ``logger=...`` asks for; it is closed with the block, however that ends.

    Nothing is opened or written before the tracker's ``start``. Of processes that share a fit, only rank 0
    comes here (``tasks/fit.py``).
    Raises UserError where the dashboard cannot be logged into, or its package is missing.
    """
    if config.logger.kind == "none":
        yield NullTracker()
        return
    tracker = Tracker(run, config.logger.kind, opener(config, run))
    try:
        yield tracker
    except BaseException:
        tracker.close(failed=True)
        raise
    tracker.close(failed=False)


def opener(config: Config, run: RunDirectory) -> OpenSink:
    """What opens the dashboard. UserError where it cannot be used."""
    if config.logger.kind == "tensorboard":
        from mer_lightning.views.tensorboard import TensorBoardSink, check_installed

        check_installed()
        return partial(TensorBoardSink, run)
    from mer_lightning.views.wandb import WandbSink, check_login

    if config.logger.mode == "online":
        check_login()
    return partial(WandbSink, config, run)
