"""TensorBoard: files in the run directory, shown by ``tensorboard --logdir DIR``."""

from typing import Any

from matplotlib.image import imread

from mer_lightning.errors import optional
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.report.runs import FinishedRun
from mer_lightning.views.scalars import LoggedRow, best_values
from mer_lightning.views.tracker import Memory, say


def check_installed() -> Any:
    """``torch.utils.tensorboard``. UserError where its package is missing."""
    return optional("torch.utils.tensorboard", "mer-lightning[tensorboard]")


class TensorBoardSink:
    """The files under ``tensorboard/`` of the run directory; a continued run adds another one."""

    def __init__(self, run: RunDirectory, memory: Memory) -> None:
        self.writer = check_installed().SummaryWriter(str(run.tensorboard))
        say(f"dashboard: tensorboard --logdir '{run.tensorboard}'")

    def log(self, number: int, row: LoggedRow) -> None:
        """Scalars at the row's step."""
        for name, value in row.values.items():
            self.writer.add_scalar(name, value, row.at)

    def flush(self) -> None:
        """Write them."""
        self.writer.flush()

    def results(self, run: FinishedRun, number: int) -> None:
        """The best scores and the figures."""
        for name, value in best_values(run.results).items():
            self.writer.add_scalar(name, value, 0)
        for figure in sorted(RunDirectory(run.path).figures.glob("*.png")):
            self.writer.add_image(f"figures/{figure.stem}", imread(figure)[..., :3], 0, dataformats="HWC")

    def close(self, failed: bool) -> None:
        """Write what is left."""
        self.writer.close()
