"""The groups of the configuration: what every key is, and which values make sense.

The values are in ``conf/``; here are their types and checks, and the values of what one part alone looks at.
Fields of two types are declared ``Any`` and checked here, because OmegaConf 2.3 cannot merge into a union
inside a group. Fields that are no part of a run's identity are marked ``ASIDE`` or ``PLACE``; those that act
after round 0 ``LATER``, and what acts before in a group of these ``FIRST``.
"""

from dataclasses import dataclass, field
from typing import Any

from mer_lightning.config.checks import BIG, between, one_of
from mer_lightning.config.registry import (
    CORPORA,
    CRITERIA,
    FUSIONS,
    NETWORKS,
    OPTIMIZERS,
    READERS,
    WEIGHTINGS,
)
from mer_lightning.errors import UserError

ASIDE = {"identity": "aside"}  # metadata of a field that the results do not depend on
FIRST = {"acts": "first"}  # of one that round 0 depends on, in a group that is LATER
LATER = {"acts": "later"}  # of one, or of a group, that round 0 does not depend on
MONITORS = ("score", "dis", "dim", "com", "uar", "macro_f1", "accuracy")
PLACE = {"identity": "place"}  # of one that names a place on this machine; what is there may matter


@dataclass(kw_only=True)
class DataConfig:
    """Which utterances, features and folds."""

    reader: str  # a name in READERS or CORPORA
    root: str | None = field(metadata=PLACE)  # where the reader looks
    levels: list[str]  # acoustic levels, one fusion branch each
    shared: list[str]  # feature sets that every branch sees
    labels: str | None = field(metadata=PLACE)  # label file, where it is not the reader's usual one
    classes: list[str]  # the emotions and their order; [] takes those found, sorted
    tests: list[str] | None  # names of the test sets; null: every split but train and val
    test_fold: int | None  # the labels' fold that is the test set, all else Train&Val; null: data.tests
    folds: Any  # int or str: number of folds, or "column": as the labels say
    group: str  # labels column whose values never straddle two folds
    clip: float | None = (
        5.0  # deviations from the mean where standardised features are cut off; null: nowhere
    )
    standardise: str = "train"  # by the training part; speaker: before that, by each group's own utterances
    features: str | None = None  # a name in sets, instead of levels and shared
    sets: dict[str, dict[str, list[str]]] = field(  # what data.features can be: name -> levels and shared
        default_factory=dict, metadata=ASIDE
    )
    balanced: bool = False  # training batches are drawn with replacement, every emotion equally often
    size: str = "small"  # synthetic: small (1440 utterances) | full (3784, and dimensions of MER 2023)
    resident_gb: float = field(default=8.0, metadata=ASIDE)  # store: a larger one is memory-mapped

    def __post_init__(self) -> None:
        one_of("data.reader", self.reader, (*READERS, *CORPORA))
        if self.features is not None:
            self._take(self.features)
        one_of("data.size", self.size, ("small", "full"))
        one_of("data.standardise", self.standardise, ("train", "speaker"))
        if self.reader != "synthetic" and not self.root:
            raise UserError(
                f"data.root is not set: name the folder of the data, data={self.reader} data.root=DIR"
            )
        if not self.levels and self.reader not in ("store", "synthetic", *CORPORA):  # these know their own
            raise UserError("data.levels is empty: name at least one acoustic level, data.levels=[a,b,c]")
        if twice := sorted({name for name in self.classes if self.classes.count(name) > 1}):
            raise UserError(f"data.classes names {twice[0]!r} twice")
        if self.clip is not None and not 0 < self.clip < BIG:
            raise UserError(f"data.clip={self.clip}: expected a number of deviations above 0, or null")
        if self.test_fold is not None and self.tests is not None:
            raise UserError("data.test_fold and data.tests both set the test set; give only one")
        names = [*self.levels, *self.shared]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise UserError(f"data.levels and data.shared name {twice[0]!r} twice")
        if self.folds != "column" and (type(self.folds) is not int or self.folds < 2):
            raise UserError(f"data.folds={self.folds}: expected a number of folds (2 or more) or 'column'")

    def _take(self, name: str) -> None:
        """The levels and shared sets of a name in ``sets``."""
        if not self.sets:
            raise UserError(
                f"data.features={name}: there are no named sets; data.sets.{name}.levels=[a,b] makes one"
            )
        one_of("data.features", name, self.sets)
        chosen: dict[str, list[str]] = {"levels": [], "shared": []} | self.sets[name]
        if not chosen["levels"] or len(chosen) > 2:
            raise UserError(f"data.sets.{name}: expected levels, at least one, and shared, perhaps none")
        self.levels, self.shared = chosen["levels"], chosen["shared"]


@dataclass(kw_only=True)
class NetworkConfig:
    """The network: its kind and sizes."""

    kind: str  # a name in NETWORKS
    dimension: int  # D, the width of a gathered representation; hidden layers have 2 D
    dropout: float  # after every hidden layer
    softmax: bool  # softmax over the gathering's scores; false: raw scores, as in the authors' public code
    layers: int = 0  # transformer: encoder layers
    heads: int = 0  # transformer: attention heads, a divisor of the dimension
    modality_dropout: float = 0.0  # probability that a training utterance goes without a feature set
    attention: int | None = None  # hierarchical: hidden widths of the gathering's attention; null: 2 D and D

    def __post_init__(self) -> None:
        NETWORKS.check(self.kind)
        if self.kind == "transformer" and (self.layers < 1 or self.heads < 1 or self.dimension % self.heads):
            raise UserError(
                f"network: a transformer needs layers >= 1 and heads that divide network.dimension="
                f"{self.dimension}; layers={self.layers}, heads={self.heads}"
            )
        between("network.dimension", self.dimension, 1, 65536)
        if self.attention is not None and self.kind == "transformer":
            raise UserError("network.attention is of hierarchical networks; leave it out with a transformer")
        if self.attention is not None:
            between("network.attention", self.attention, 1, 65536)
        between("network.dropout", self.dropout, 0, 1, open_above=True)
        between("network.modality_dropout", self.modality_dropout, 0, 1, open_above=True)


@dataclass(kw_only=True)
class FusionConfig:
    """How the branches' decisions become one."""

    kind: str  # a name in FUSIONS
    weights: list[float] = field(default_factory=list)  # linear: one weight per level
    calibrated: bool = False  # a temperature for each branch, fitted after training on the stopping part

    @property
    def options(self) -> dict[str, Any]:
        """What a fusion's constructor may name."""
        return {name: value for name, value in vars(self).items() if name not in ("kind", "calibrated")}

    def __post_init__(self) -> None:
        FUSIONS.check(self.kind)
        if self.kind == "linear" and not self.weights:
            raise UserError("fusion=linear needs one weight per level, fusion.weights=[0.5,0.3,0.2]")
        if any(w < 0 for w in self.weights) or (self.weights and sum(self.weights) <= 0):
            raise UserError(f"fusion.weights={self.weights}: weights must be >= 0 and not all zero")


@dataclass(kw_only=True)
class LossConfig:
    """Eq. 8 and 9."""

    weighting: str  # a name in WEIGHTINGS
    supervision: str  # branch | fused | both
    auxiliary: float  # supervision=both: weight of the branches' losses beside the fused one's
    alpha: float  # of the sparse term
    sparse: str = "subgradient"  # subgradient: into the gradients | proximal: weights shrink after each step
    class_weights: str = "none"  # of the emotions in L_e | balanced: the rarer in training the heavier
    delta_rate: float = 1.0  # learning rate of d1 and d2, as a multiple of the network's

    def __post_init__(self) -> None:
        WEIGHTINGS.check(self.weighting)
        one_of("loss.supervision", self.supervision, ("branch", "fused", "both"))
        between("loss.auxiliary", self.auxiliary, 0, BIG)
        between("loss.alpha", self.alpha, 0, BIG)
        one_of("loss.sparse", self.sparse, ("subgradient", "proximal"))
        one_of("loss.class_weights", self.class_weights, ("none", "balanced"))
        between("loss.delta_rate", self.delta_rate, 0, BIG)


@dataclass(kw_only=True)
class PnaoConfig:
    """Algorithm 1."""

    rounds: int  # N, rounds of pruning after round 0; 0: train once
    rate: float  # k of Eq. 11, the NAOR, in [0, 1); 0 prunes nothing: rewinding alone
    scale: str  # none: as it is, Eq. 11 | layer: over its layer's mean | lamp: over the layer's larger ones
    keep: float | None  # share of the prunable parameters left after the last round, instead of the rate
    inputs: bool = field(metadata=FIRST)  # whether columns of the feature sets are pruned, too
    guard: str  # on | none; none is the literal paper
    min_width: int  # guard: the smallest width a layer may reach
    max_share: float  # guard: the largest share of a layer's nodes one round may remove
    rewind_epoch: int  # the epoch of the schedule to which a round goes back
    optimiser: str = field(metadata=FIRST)  # reset | carry, what becomes of the optimiser's moments
    choose: str  # smallest | best: within one standard error of the best validation score, or the best itself
    control: str = field(
        metadata=FIRST
    )  # none | random | shuffled | one_shot | scratch: another way to prune
    criterion: str = field(default="weight", metadata=FIRST)  # a name in CRITERIA: the importance of a node
    like: str | None = field(metadata=PLACE)  # control: the finished PNAO run to match; null: made first

    def __post_init__(self) -> None:
        if not 0 <= self.rounds <= 1000:
            raise UserError(f"pnao.rounds={self.rounds}: expected 0 to 1000")
        between("pnao.rate", self.rate, 0, 1, open_above=True)
        CRITERIA.check(self.criterion)
        one_of("pnao.scale", self.scale, ("none", "layer", "lamp"))
        if self.keep is not None and not 0 < self.keep <= 1:
            raise UserError(f"pnao.keep={self.keep}: expected a share in (0, 1], or null")
        one_of("pnao.guard", self.guard, ("on", "none"))
        between("pnao.min_width", self.min_width, 1, BIG)
        between("pnao.max_share", self.max_share, 0, 1)
        one_of("pnao.optimiser", self.optimiser, ("reset", "carry"))
        one_of("pnao.choose", self.choose, ("smallest", "best"))
        one_of("pnao.control", self.control, ("none", "random", "shuffled", "one_shot", "scratch"))
        if self.like and self.control == "none":
            raise UserError(
                "pnao.like is for the controls: +experiment=random, shuffled, one_shot or scratch"
            )


@dataclass(kw_only=True)
class RevisionConfig:
    """Progressive label revision: unlabelled utterances as training data, with predicted labels.

    They are the split ``unlabelled``; where there is none, the test sets, which is transductive.
    """

    rounds: int  # 0: none; each round revises the labels by the class probabilities of the one before
    share: float  # of the unlabelled utterances that are learnt from in the last round; 0: a control, without
    choose: str = "agreed"  # agreed: of those that all folds' networks agree on, as many of each emotion
    # confident: the most confident, by the fold's own network

    def __post_init__(self) -> None:
        between("revision.rounds", self.rounds, 0, 1000)
        between("revision.share", self.share, 0, 1)
        one_of("revision.choose", self.choose, ("agreed", "confident"))


@dataclass(kw_only=True)
class CombineConfig:
    """Decision-level combination of systems that are trained apart."""

    of: str  # none | levels: one single-branch system per level | fusions: PNAO with attention, with entropy
    weights: str  # mean | fitted: on the out-of-fold predictions
    runs: list[str] = field(metadata=PLACE)  # finished runs to combine instead of training the systems

    def __post_init__(self) -> None:
        one_of("combine.of", self.of, ("none", "levels", "fusions"))
        one_of("combine.weights", self.weights, ("mean", "fitted"))
        if self.runs and self.of == "none":
            raise UserError(
                "combine.runs is for experiments that combine systems: +experiment=final or ustc_qw"
            )


@dataclass(kw_only=True)
class TrainerConfig:
    """One fit: the schedule, the optimiser, the device."""

    epochs: int  # at most, of a fit; then back to the epoch of the best validation score
    batch_size: int  # utterances
    learning_rate: float  # at the start of the schedule
    schedule: str  # constant | cosine: the learning rate over the epochs
    weight_decay: float  # of the optimizer
    patience: int  # epochs without a better validation score before a round stops
    gradient_clip: float  # largest norm of the gradient; 0: no limit
    monitor: str  # in MONITORS: what stops training and chooses the round, on validation
    accelerator: str = field(metadata=ASIDE)  # auto | cpu | gpu
    precision: str  # 32-true | bf16-mixed | 64-true; fp16 would scale the gradients under the sparse term
    threads: int = field(metadata=ASIDE)  # intra-op threads of a fit on the CPU
    devices: Any = field(metadata=ASIDE)  # int or "auto": devices of one fit on each machine, a process each
    nodes: int = field(metadata=ASIDE)  # machines of one fit
    optimizer: str = "adamw"  # a name in OPTIMIZERS

    def __post_init__(self) -> None:
        OPTIMIZERS.check(self.optimizer)
        between("trainer.epochs", self.epochs, 1, BIG)
        between("trainer.batch_size", self.batch_size, 1, BIG)
        if not 0 < self.learning_rate < BIG:
            raise UserError(f"trainer.learning_rate={self.learning_rate}: expected a number above 0")
        one_of("trainer.schedule", self.schedule, ("constant", "cosine"))
        between("trainer.weight_decay", self.weight_decay, 0, BIG)
        between("trainer.patience", self.patience, 1, BIG)
        between("trainer.gradient_clip", self.gradient_clip, 0, BIG)
        one_of("trainer.monitor", self.monitor, MONITORS)
        one_of("trainer.accelerator", self.accelerator, ("auto", "cpu", "gpu"))
        one_of("trainer.precision", self.precision, ("32-true", "bf16-mixed", "64-true"))
        between("trainer.threads", self.threads, 1, 1024)
        if self.devices != "auto" and (type(self.devices) is not int or self.devices < 1):
            raise UserError(f"trainer.devices={self.devices}: expected a number (1 or more) or 'auto'")
        between("trainer.nodes", self.nodes, 1, 65536)
