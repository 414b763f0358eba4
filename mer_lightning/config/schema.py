"""The whole configuration: its groups, the checks across them, and its schema for Hydra.

Unknown keys are refused because ``conf/config.yaml`` names this schema first in its defaults list.
"""

from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from mer_lightning.config.checks import between, one_of
from mer_lightning.config.extract import ExtractConfig
from mer_lightning.config.groups import (
    CombineConfig,
    DataConfig,
    DemoConfig,
    FoldsConfig,
    FusionConfig,
    LoggerConfig,
    LossConfig,
    ModelConfig,
    NetworkConfig,
    PnaoConfig,
    ReportConfig,
    RevisionConfig,
    TrainerConfig,
)
from mer_lightning.errors import UserError

TASKS = ("fit", "import", "extract", "predict", "export", "demo", "report", "dashboard")
NEEDED = {  # task -> what it cannot do without
    "import": {"output": "STORE, the folder of the store to write"},
    "extract": {"input": "DIR, the folder of clips", "output": "STORE, the folder of the store to write"},
    "predict": {
        "model": "DIR, a finished run's directory",
        "input": "PATH, a feature folder, a store, a clip or a folder of clips",
        "output": "FILE.csv, the file to write",
    },
    "export": {"model": "DIR, a finished run's directory", "output": "FILE, the file to write"},
    "demo": {"model": "DIR, a finished run's directory"},
}


@dataclass(kw_only=True)
class Config:
    """The whole configuration of a run."""

    task: str  # fit | import | extract | predict | export | demo | report | dashboard
    experiment_name: str  # set by +experiment=..., kept in results.json
    seed: int
    protocol: str  # paper | nested
    ensemble: str  # posterior | logit: what is averaged over the folds' networks
    input: (
        str | None
    )  # extract: the folder of clips | predict: a feature folder, a store, a clip, a folder of clips
    output: str | None  # import, extract: the store to write | predict, export: the file to write
    format: str  # export: onnx | torch
    data: DataConfig
    network: NetworkConfig
    fusion: FusionConfig
    loss: LossConfig
    pnao: PnaoConfig
    revision: RevisionConfig
    combine: CombineConfig
    trainer: TrainerConfig
    folds: FoldsConfig
    extract: ExtractConfig
    model: ModelConfig
    demo: DemoConfig
    logger: LoggerConfig
    report: ReportConfig

    def check_levels(self, levels: int) -> None:
        """A UserError if linear fusion has not one weight for each of the ``levels``."""
        if self.fusion.kind == "linear" and len(self.fusion.weights) != levels:
            raise UserError(f"fusion.weights has {len(self.fusion.weights)} weights for {levels} levels")

    @property
    def last_round(self) -> int:
        """The number of the last round that this run trains."""
        return self.revision.rounds or self.pnao.last_round

    def __post_init__(self) -> None:
        one_of("task", self.task, TASKS)
        one_of("protocol", self.protocol, ("paper", "nested"))
        one_of("ensemble", self.ensemble, ("posterior", "logit"))
        between("seed", self.seed, 0, 2**32 - 1)
        if self.data.levels:  # a store's own are known when it is read
            self.check_levels(len(self.data.levels))
        if self.pnao.rewind_epoch not in range(self.trainer.epochs):
            raise UserError(
                f"pnao.rewind_epoch={self.pnao.rewind_epoch}: expected 0 to {self.trainer.epochs - 1} "
                "(trainer.epochs - 1)"
            )
        if self.pnao.rounds and (self.revision.rounds or self.network.kind == "transformer"):
            raise UserError("pnao.rounds > 0 goes with hierarchical networks without label revision only")
        if self.network.kind == "transformer" and self.loss.supervision == "branch":
            raise UserError(
                "network=transformer decides by a part that loss.supervision=branch does not train: "
                "take loss.supervision=both, or +experiment=transformer"
            )
        one_of("format", self.format, ("onnx", "torch"))
        given = {"model": self.model.path, "input": self.input, "output": self.output}
        for key, what in NEEDED.get(self.task, {}).items():
            if not given[key]:
                raise UserError(f"task={self.task} needs {key}={what}")


def checked(settings: DictConfig) -> Config:
    """The configuration as typed objects, all checks passed.

    Raises UserError for a value that makes no sense or a key that is none of ours: ``+key=value`` adds
    keys even to a schema.
    """
    config = OmegaConf.to_object(settings)
    if not isinstance(config, Config):
        raise UserError(
            "the configuration does not follow the schema; is it named first in conf/config.yaml?"
        )
    groups: dict[str, Any] = {"": config} | {f"{k}.": v for k, v in vars(config).items() if is_dataclass(v)}
    for prefix, group in groups.items():
        if unknown := sorted(vars(group).keys() - {f.name for f in fields(group)}):
            raise UserError(
                f"unknown configuration key {prefix}{unknown[0]}; see --cfg job for those there are"
            )
    return config


def register() -> None:
    """Make the schema known to Hydra under the name ``schema``, in a store that is never copied whole.

    Hydra would copy it for every group that ``--help`` lists, a second in all with every extra installed,
    although each configuration that it takes out of the store is a copy anyway.
    """
    ConfigStore.__deepcopy__ = lambda store, memo: store  # type: ignore[attr-defined]
    ConfigStore.instance().store(name="schema", node=Config)
