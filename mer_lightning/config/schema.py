"""The whole configuration: its groups, and the checks across them."""

from dataclasses import dataclass, field

from mer_lightning.config.aside import DemoConfig, FoldsConfig, LoggerConfig, ModelConfig, ReportConfig
from mer_lightning.config.checks import between, one_of
from mer_lightning.config.extract import ExtractConfig
from mer_lightning.config.groups import (
    ASIDE,
    CombineConfig,
    DataConfig,
    FusionConfig,
    LossConfig,
    NetworkConfig,
    PnaoConfig,
    RevisionConfig,
    TrainerConfig,
)
from mer_lightning.config.registry import TASKS
from mer_lightning.errors import UserError


@dataclass(kw_only=True)
class Config:
    """The whole configuration of a run."""

    task: str = field(metadata=ASIDE)  # a name in TASKS
    experiment_name: str  # set by +experiment=..., kept in results.json
    seed: int
    protocol: str  # paper | nested
    ensemble: str  # posterior | logit: what is averaged over the folds' networks
    input: str | None = field(metadata=ASIDE)  # extract: the folder of clips | predict: features or clips
    output: str | None = field(metadata=ASIDE)  # import, extract: the store | predict, export: the file
    format: str = field(metadata=ASIDE)  # export: onnx | torch
    data: DataConfig
    network: NetworkConfig
    fusion: FusionConfig
    loss: LossConfig
    pnao: PnaoConfig
    revision: RevisionConfig
    combine: CombineConfig
    trainer: TrainerConfig
    folds: FoldsConfig = field(metadata=ASIDE)
    extract: ExtractConfig = field(metadata=ASIDE)
    model: ModelConfig = field(metadata=ASIDE)
    demo: DemoConfig = field(metadata=ASIDE)
    logger: LoggerConfig = field(metadata=ASIDE)
    report: ReportConfig = field(metadata=ASIDE)

    def check_levels(self, levels: int) -> None:
        """A UserError if linear fusion has not one weight for each of the ``levels``."""
        if self.fusion.kind == "linear" and len(self.fusion.weights) != levels:
            raise UserError(f"fusion.weights has {len(self.fusion.weights)} weights for {levels} levels")

    @property
    def last_round(self) -> int:
        """The number of the last round that this run trains."""
        return self.revision.rounds or self.pnao.rounds

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
        for key, what in TASKS[self.task].needs.items():
            if not given[key]:
                raise UserError(f"task={self.task} needs {key}={what}")
