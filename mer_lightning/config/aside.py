"""The groups that no result depends on: sharing the machine, dashboards, other tasks than training."""

import math
import re
from dataclasses import dataclass, field, fields
from typing import Any

from mer_lightning.config.checks import between, did_you_mean, one_of
from mer_lightning.errors import UserError

FIGURE_FORMATS = ("png", "pdf", "svg")


@dataclass(kw_only=True)
class FoldsConfig:
    """How the folds share the machine."""

    workers: Any  # int or str: processes side by side; auto: one per core or GPU, at most one per fold

    def __post_init__(self) -> None:
        if self.workers != "auto" and (type(self.workers) is not int or self.workers < 1):
            raise UserError(f"folds.workers={self.workers}: expected a number (1 or more) or 'auto'")


@dataclass(kw_only=True)
class ModelConfig:
    """A trained model: ``model=DIR`` on the command line is short for ``model.path=DIR``."""

    path: str | None  # a finished run's directory, its model folder, or hf://OWNER/NAME on the hub
    revision: str | None  # of a model on the hub: a commit, tag or branch
    fold: int | None  # this fold's network alone; null: all folds together, as the test figures report
    without: list[str] = field(default_factory=list)  # predict, evaluate: feature sets that are not there


@dataclass(kw_only=True)
class EvaluateConfig:
    """``task=evaluate``: a trained model on other labelled data."""

    map: dict[str, str] = field(
        default_factory=dict
    )  # an emotion of the labels -> the model's, where the names differ
    ablation: bool = False  # also without each feature set, and by each alone
    noisy: dict[Any, str] = field(default_factory=dict)  # level, a number -> data.root of the same, corrupted
    axis: str = "level of corruption"  # what the levels are, such as "SNR (dB)"

    def __post_init__(self) -> None:
        for level in self.noisy:
            if type(level) not in (int, float) or not math.isfinite(level):
                raise UserError(f"evaluate.noisy: level {level!r} is no number, such as {{10: DIR, 0: DIR}}")


@dataclass(kw_only=True)
class DemoConfig:
    """``task=demo``: a page to drop a clip into."""

    host: str  # the address it listens at; 127.0.0.1: this machine alone
    port: int  # 1 to 65535
    max_megabytes: float  # larger clips are refused
    max_seconds: float  # longer clips are refused

    def __post_init__(self) -> None:
        between("demo.port", self.port, 1, 65535)
        between("demo.max_megabytes", self.max_megabytes, 0, 1e6)
        between("demo.max_seconds", self.max_seconds, 0, 1e6)


@dataclass(kw_only=True)
class WandbConfig:
    """``logger.wandb``."""

    project: str = "mer_lightning"  # its name on W&B
    entity: str | None = None  # the user or team it belongs to; null: the account's own
    mode: str = "online"  # online | offline, which `wandb sync` uploads later
    tags: list[str] = field(default_factory=list)  # of the run on W&B
    artifact: bool = False  # whether the model is uploaded, too

    def __post_init__(self) -> None:
        one_of("logger.wandb.mode", self.mode, ("online", "offline"))
        if not self.project or re.search(r"[/\\#?%:]", self.project):
            raise UserError(f"logger.wandb.project={self.project!r}: expected a name without / \\ # ? % :")
        if len(self.project) > 128 or not all(0 < len(tag) <= 64 for tag in self.tags):
            raise UserError(
                "logger.wandb: W&B takes at most 128 letters for a project, and 1 to 64 for a tag"
            )


@dataclass(kw_only=True)
class TensorBoardConfig:
    """``logger.tensorboard``: nothing to set; its files go into the run directory."""


OUR_LOGGERS: dict[str, type[Any]] = {"wandb": WandbConfig, "tensorboard": TensorBoardConfig}


def check_logger(name: str, settings: Any) -> None:
    """A UserError unless it is one of our loggers, with settings of its own, or names a class."""
    if name not in OUR_LOGGERS:
        check_target(f"logger.{name}", settings)
        return
    known = [f.name for f in fields(OUR_LOGGERS[name])]
    for key in settings or {}:
        if key not in known:
            raise UserError(f"unknown configuration key logger.{name}.{key}{did_you_mean(key, known)}")
    OUR_LOGGERS[name](**settings or {})


def check_target(key: str, settings: Any) -> None:
    """A UserError unless the settings name a class by ``_target_``, under a name that files may have."""
    if not re.fullmatch(r"\w{1,50}", key.partition(".")[2]):
        raise UserError(f"{key}: expected a name of letters and digits")
    if not isinstance(settings, dict) or not isinstance(settings.get("_target_"), str):
        raise UserError(f"{key}: expected a class, {key}._target_=PACKAGE.CLASS, and its arguments beside it")


@dataclass(kw_only=True)
class ReportConfig:
    """``task=report``: finished runs compared."""

    runs: str | None  # the folder that holds them, at any depth; the report goes to its report/
    format: list[str]  # of the figures' files: some of FIGURE_FORMATS
    registered: str | None = None  # a file that said beforehand what is run: the runs are checked against it

    def __post_init__(self) -> None:
        if not self.format:
            raise UserError("report.format is empty: name one of png, pdf, svg, or several, [png,pdf]")
        for name in self.format:
            one_of("report.format", name, FIGURE_FORMATS)


@dataclass(kw_only=True)
class PublishConfig:
    """``task=publish``: the model card of the Hugging Face hub."""

    license: str | None  # of the weights, by the hub's name, such as cc-by-nc-4.0; must be given
    language: list[str]  # of the speech, by ISO 639 codes
    name: str | None  # OWNER/NAME, where it will be on the hub; null: the card says FOLDER

    def __post_init__(self) -> None:
        if self.license is not None and not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", self.license):
            raise UserError(
                f"publish.license={self.license}: expected the hub's name of a license, such as cc-by-4.0"
            )
        for code in self.language:
            if not re.fullmatch(r"[a-z]{2,3}", code):
                raise UserError(f"publish.language: {code!r} is not a language code such as en or zh")
        if self.name is not None and not re.fullmatch(r"[\w.-]+/[\w.-]+", self.name):
            raise UserError(f"publish.name={self.name}: expected OWNER/NAME")
