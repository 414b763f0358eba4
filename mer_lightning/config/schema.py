"""The whole configuration: its groups, and the checks across them."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, make_dataclass
from functools import cache
from typing import Any

from mer_lightning.config.aside import (
    DemoConfig,
    EvaluateConfig,
    FoldsConfig,
    ModelConfig,
    PublishConfig,
    ReportConfig,
    check_logger,
    check_target,
)
from mer_lightning.config.checks import BIG, between, one_of
from mer_lightning.config.extract import ExtractConfig
from mer_lightning.config.groups import (
    ASIDE,
    LATER,
    CombineConfig,
    DataConfig,
    FusionConfig,
    LossConfig,
    NetworkConfig,
    PnaoConfig,
    RevisionConfig,
    TrainerConfig,
)
from mer_lightning.config.plugins import Plugins, import_plugins
from mer_lightning.config.registry import CORPORA, TASKS, WITH_SETTINGS
from mer_lightning.errors import UserError


@dataclass(kw_only=True)
class Config:
    """The whole configuration of a run."""

    plugins: list[str]  # modules that register parts of the user's own
    task: str = field(metadata=ASIDE)  # a name in TASKS
    experiment_name: str  # set by +experiment=..., kept in results.json
    seed: int  # of the folds, initial weights, order of the batches and dropout
    protocol: str  # paper | nested | fixed
    ensemble: str = field(metadata=LATER)  # posterior | logit: what is averaged over the folds' networks
    priors: Any = field(default=None, metadata=LATER)  # of the emotions in test sets: em | {emotion: number}
    input: str | None = field(metadata=ASIDE)  # extract: the folder of clips | predict: features or clips
    output: str | None = field(
        metadata=ASIDE
    )  # import, extract: the store, or labels.csv | predict, export: the file | publish: the folder
    format: str = field(metadata=ASIDE)  # export: onnx | torch
    data: DataConfig
    network: NetworkConfig
    fusion: FusionConfig
    loss: LossConfig
    pnao: PnaoConfig = field(metadata=LATER)
    revision: RevisionConfig = field(metadata=LATER)
    combine: CombineConfig
    trainer: TrainerConfig
    folds: FoldsConfig = field(metadata=ASIDE)
    extract: ExtractConfig = field(metadata=ASIDE)
    model: ModelConfig = field(metadata=ASIDE)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig, metadata=ASIDE)
    demo: DemoConfig = field(metadata=ASIDE)
    callbacks: dict[str, Any] = field(default_factory=dict)  # name -> _target_, and its arguments
    logger: dict[str, Any] = field(default_factory=dict, metadata=ASIDE)  # name -> ours, or _target_
    report: ReportConfig = field(metadata=ASIDE)
    publish: PublishConfig = field(metadata=ASIDE)

    def check_levels(self, levels: int) -> None:
        """A UserError if linear fusion has not one weight for each of the ``levels``."""
        if self.fusion.kind == "linear" and len(self.fusion.weights) != levels:
            raise UserError(f"fusion.weights has {len(self.fusion.weights)} weights for {levels} levels")

    def check_priors(self) -> None:
        """A UserError unless ``priors`` are such, where they are used."""
        if self.priors is None:
            return
        shares = list(self.priors.values()) if isinstance(self.priors, dict) else []
        given = bool(shares) and all(type(x) in (int, float) and 0 < x < BIG for x in shares)
        if self.priors != "em" and not given:
            raise UserError(f"priors={self.priors}: expected em, or {{EMOTION: a number above 0, ...}}")
        if self.task not in ("fit", "predict", "evaluate") or self.combine.of != "none":
            raise UserError("priors are for task=fit without combine, predict and evaluate: leave them out")

    @property
    def last_round(self) -> int:
        """The number of the last round that this run trains."""
        return self.revision.rounds + self.pnao.rounds

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (Plugins(self.plugins), type(self), vars(self))  # in this order: plugins come first

    def __post_init__(self) -> None:
        one_of("task", self.task, TASKS)
        if self.data.reader in CORPORA and self.task != "import":
            raise UserError(
                f"data={self.data.reader} names clips and labels, no features: task=import writes "
                "labels.csv, task=extract then a store, and data=store reads that (docs/data.md)"
            )
        one_of("protocol", self.protocol, ("paper", "nested", "fixed"))
        if self.protocol == "fixed" and self.combine.weights == "fitted":
            raise UserError(
                "combine.weights=fitted needs predictions out of fold, and protocol=fixed has none: take "
                "combine.weights=mean, or protocol=paper or nested"
            )
        one_of("ensemble", self.ensemble, ("posterior", "logit"))
        self.check_priors()
        between("seed", self.seed, 0, 2**32 - 1)
        if self.data.levels:  # a store's own are known when it is read
            self.check_levels(len(self.data.levels))
        if self.pnao.rewind_epoch not in range(self.trainer.epochs):
            raise UserError(
                f"pnao.rewind_epoch={self.pnao.rewind_epoch}: expected 0 to {self.trainer.epochs - 1} "
                "(trainer.epochs - 1)"
            )
        if self.pnao.rounds and self.network.kind == "transformer":
            raise UserError("pnao.rounds > 0 works only with hierarchical networks")
        if self.revision.rounds and self.pnao.control != "none":
            raise UserError(
                f"pnao.control={self.pnao.control} matches a run without label revision: revision.rounds=0"
            )
        if self.network.kind == "transformer" and self.loss.supervision == "branch":
            raise UserError(
                "loss.supervision=branch does not train the part of network=transformer that decides: "
                "use loss.supervision=both, or +experiment=transformer"
            )
        for name, settings in self.callbacks.items():
            check_target(f"callbacks.{name}", settings)
        for name, settings in self.logger.items():
            check_logger(name, settings)
        one_of("format", self.format, ("onnx", "torch"))
        if self.model.without and self.task not in ("predict", "evaluate"):
            raise UserError(f"model.without is for task=predict and evaluate, not task={self.task}")
        given = {"model": self.model.path, "input": self.input, "output": self.output}
        for key, what in TASKS[self.task].needs.items():
            if not given[key]:
                raise UserError(f"task={self.task} needs {key}={what}")


def schema() -> type[Config]:
    """``Config``, with the settings of the plugins' parts in the groups that choose these parts."""
    return _extended(tuple((registry.key, *registry.plugins.items()) for registry in WITH_SETTINGS))


def group_type(group: str) -> Any:
    """The type of a group of ``schema()``."""
    return next(f.type for f in fields(schema()) if f.name == group)


@cache
def _extended(registered: tuple[tuple[str, Any], ...]) -> type[Config]:
    groups = {f.name: f for f in fields(Config)}
    longer = []
    for registry in WITH_SETTINGS:
        group = groups[registry.key.partition(".")[0]]
        known = {f.name for f in fields(group.type)}  # type: ignore[arg-type]
        own = [(name, *of) for name, of in registry.settings().items() if name not in known]
        if own:
            new = [(name, kind, _default(value)) for name, kind, value in own]
            longer.append((group.name, _longer(group.type, new), field(metadata=group.metadata)))
    return _longer(Config, longer) if longer else Config


def _default(value: Any) -> Any:
    listed = isinstance(value, list | tuple)
    return field(default_factory=lambda: list(value)) if listed else field(default=value)


def _longer(kind: Any, new: Sequence[tuple[str, Any, Any]]) -> type:
    """A dataclass with more fields; its name says which plugins it needs where it is unpickled."""
    modules = sorted({module for registry in WITH_SETTINGS for module in registry.plugins.values()})
    name = "+".join([kind.__name__, *modules]).replace(".", "/")
    longer = make_dataclass(
        kind.__name__, new, bases=(kind,), kw_only=True, namespace={"__module__": __name__}
    )
    longer.__qualname__ = longer.__name__ = name
    return longer


def __getattr__(name: str) -> type:
    """A class of ``schema()`` by the name it is pickled under, once the plugins are imported."""
    _, *modules = name.split("+")
    if not modules:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import_plugins(module.replace("/", ".") for module in modules)
    kinds: list[Any] = [schema(), *(f.type for f in fields(schema()))]
    return next(kind for kind in kinds if getattr(kind, "__name__", "") == name)  # type: ignore[no-any-return]


def _restored(plugins: Plugins, kind: type[Config], values: dict[str, Any]) -> Config:
    return kind(**values)
