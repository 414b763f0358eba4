"""Weights & Biases, used directly: one run there for each run directory."""

import re
from pathlib import Path

import wandb
from wandb.errors import AuthenticationError, CommError

from mer_lightning.config.aside import WandbConfig
from mer_lightning.config.schema import Config
from mer_lightning.errors import UserError
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.report.pictures import confusion_counts
from mer_lightning.report.runs import TRAIN_VAL, FinishedRun
from mer_lightning.views.identity import run_group, run_name, shown_settings
from mer_lightning.views.scalars import LoggedRow, best_values
from mer_lightning.views.tracker import Memory, say

REACH_SECONDS = 30.0  # to wait for a server at the start; then the run is tracked offline
UPLOAD_SECONDS = 300.0  # to wait for a slow one at the end; wandb sync uploads the rest
REFUSED = re.compile(r"returned error 4\d\d")
CONFUSION = ("Actual", "Predicted", "nPredictions")  # the columns that W&B's own confusion chart reads
HOW_TO_LOG_IN = "run `wandb login`, set WANDB_API_KEY, or track without a server: logger.wandb.mode=offline"


def quiet_settings() -> wandb.Settings:
    """Nothing on the terminal, and nothing of this machine: paths, arguments, host, code."""
    return wandb.Settings(
        console="off",
        silent=True,
        host="",
        program="mer_lightning",
        disable_git=True,
        save_code=False,
        x_disable_meta=True,
        x_disable_machine_info=True,
        init_timeout=REACH_SECONDS,
        finish_timeout=UPLOAD_SECONDS,
        reinit="create_new",  # the jobs of a sweep and the members of a combination are runs of their own
    )


def check_login() -> None:
    """A UserError where no key is known; whether the server takes it is seen when the run opens."""
    wandb.setup(wandb.Settings(silent=True))
    try:
        known = wandb.login(prompt=False, verify=False)
    except AuthenticationError as error:
        raise UserError(f"logger=wandb: {error}; {HOW_TO_LOG_IN}") from error
    if not known:
        raise UserError(f"logger=wandb: no API key is configured; {HOW_TO_LOG_IN}")


class WandbSink:
    """A run on W&B, or what ``wandb sync`` makes one of later."""

    def __init__(self, config: Config, run: RunDirectory, memory: Memory) -> None:
        self.config, self.directory, self.id = config, run, memory.id
        self.settings = WandbConfig(**config.logger["wandb"])
        wandb.setup(wandb.Settings(silent=True))  # advice on other products comes before a run's own settings
        self.defined: set[str] = set()
        try:
            self.run = self._open(self.settings.mode)
        except CommError as error:
            if REFUSED.search(str(error)):
                raise UserError(
                    f"logger=wandb: the server refuses: {error}; check logger.wandb.entity, "
                    "logger.wandb.project and `wandb login`, or use logger.wandb.mode=offline"
                ) from error
            say(f"note: W&B cannot be reached ({' '.join(str(error).split())}), so it is tracked offline")
            self.run = self._open("offline")
        say(f"dashboard: {self.where()}")

    def _open(self, mode: str) -> wandb.Run:
        logger = self.settings
        return wandb.init(
            project=logger.project,
            entity=logger.entity,
            mode="online" if mode == "online" else "offline",
            id=self.id,
            resume="allow",
            name=run_name(self.config, self.directory),
            group=run_group(),
            tags=logger.tags,
            config=shown_settings(self.config),
            dir=self.directory.path,
            settings=quiet_settings(),
        )

    def where(self) -> str:
        """The address of its page, or the command that uploads it."""
        if self.run.offline:
            return f"wandb sync '{Path(self.run.dir).parent}' (tracked offline)"
        return str(self.run.url)

    def log(self, number: int, row: LoggedRow) -> None:
        """Scalars, each metric tied to its axis by its exact name: a pattern would race with the first row.

        ``number`` is W&B's step: it goes on where a killed run's left off, so that nothing is there twice.
        """
        for name in row.values.keys() - self.defined:
            self.run.define_metric(name, step_metric=row.axis)
            self.defined.add(name)
        self.run.log({row.axis: row.at, **row.values}, step=number, commit=True)

    def flush(self) -> None:
        """Nothing to do: another process, which outlives this one, holds what was logged."""

    def results(self, run: FinishedRun, number: int) -> None:
        """Summary, confusion matrices, figures and, if asked for, the model."""
        media: dict[str, object] = {f"confusion/{part_key(p)}": confusion_table(run, p) for p in run.parts}
        for figure in sorted(self.directory.figures.glob("*.png")):
            media[f"figures/{figure.stem}"] = wandb.Image(str(figure))
        self.run.log(media, step=number, commit=True)
        self.run.summary.update(best_values(run.results))
        if self.settings.artifact:
            model = wandb.Artifact(f"model-{self.id}", "model")
            for file in sorted(self.directory.model.iterdir()):  # add_dir would announce itself
                model.add_file(str(file))
            self.run.log_artifact(model)

    def close(self, failed: bool) -> None:
        """End the run there; without it, the next job of a sweep would go on in this one."""
        self.run.finish(exit_code=int(failed))


def part_key(part: str) -> str:
    """A part of the data in the name of a key."""
    return "validation" if part == TRAIN_VAL else f"test_{part}"


def confusion_table(run: FinishedRun, part: str) -> wandb.Table:
    """Counts by true and predicted emotion."""
    counts = confusion_counts(run, part).astype(int)
    rows = [
        [true, predicted, int(counts[i, j])]
        for i, true in enumerate(run.classes)
        for j, predicted in enumerate(run.classes)
    ]
    return wandb.Table(columns=list(CONFUSION), data=rows)
