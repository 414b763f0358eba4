"""What a run directory holds as JSON, as types: ``results.json`` and ``data.json``."""

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Scores:
    """Dis: weighted F1 in [0, 1]; Dim: mean squared error of valence; Com = Dis - 0.25 Dim.

    UAR: mean recall of the emotions that occur (UA); macro F1: mean F1 of those that occur or are predicted;
    accuracy (WA). None where the labels do not say: no emotion known, or no valence known.
    """

    dis: float | None
    dim: float | None
    com: float | None
    uar: float | None
    macro_f1: float | None
    accuracy: float | None

    def flat(self) -> dict[str, float | None]:
        """Each score by its name; those of a class as ``f1_CLASS``."""
        found: dict[str, float | None] = {}
        for name, value in vars(self).items():
            found |= (
                {f"{name}_{c}": v for c, v in value.items()} if isinstance(value, dict) else {name: value}
            )
        return found


@dataclass(frozen=True)
class AllScores(Scores):
    """What is computed once for each round and part, too: of valence, and of every emotion.

    skill: 1 - Dim / that of a constant, the training part's mean; below 0 the constant is better.
    """

    mae: float | None  # mean absolute error of valence
    ccc: float | None  # concordance correlation
    pearson: float | None
    skill: float | None
    f1: dict[str, float]  # of the emotions that occur or are predicted
    recall: dict[str, float]  # of those that occur


@dataclass(frozen=True)
class Spread:
    """A score of several networks, each alone."""

    mean: float
    deviation: float  # standard deviation over the networks


@dataclass(frozen=True)
class Round:
    """A round over all folds."""

    round: int
    parameters: int  # mean over folds, as nodes and macs are
    parameters_ratio: float  # to those before pruning
    nodes: int
    macs: int
    seconds: float
    epochs: list[int]  # per fold
    selection: float  # what the round is chosen by
    selection_error: float  # its standard error, by the bootstrap over speakers
    validation: AllScores  # of the out-of-fold predictions
    by_fold: list[Scores]
    test: dict[str, AllScores]  # protocol=fixed: of the chosen round alone
    compact_error: float
    notes: list[str]
    widths: dict[str, list[int]] = field(default_factory=dict)  # group -> nodes per fold


@dataclass(frozen=True)
class Data:
    """What a run was trained and tested on."""

    name: str
    synthetic: bool
    classes: list[str]
    levels: dict[str, int]  # feature set -> dimension
    shared: dict[str, int]
    n: dict[str, int]  # split -> utterances


@dataclass(frozen=True, kw_only=True)
class Results:
    """``results.json``: the figures of a finished run. ``validation`` and ``test`` are the chosen round's."""

    schema: Literal[1] = 1
    experiment: str
    seed: int
    folds: int
    protocol: str  # paper | nested | fixed
    transductive: bool  # whether the test sets' features were learnt from
    data: Data
    rounds: list[Round]
    best_round: int
    chosen_by: str
    validation: AllScores
    test: dict[str, AllScores]
    single: dict[str, dict[str, Spread]]  # test set -> score -> of the folds' networks, each alone
    versions: dict[str, str]
    seconds: float
    priors: dict[str, dict[str, float]] = field(
        default_factory=dict
    )  # test set -> what priors= assumed there

    def __post_init__(self) -> None:
        if not self.rounds or [r.round for r in self.rounds] != list(range(len(self.rounds))):
            raise ValueError("rounds are not numbered 0, 1, ...")
        if self.best_round not in range(len(self.rounds)):
            raise ValueError("best_round is not one of its rounds")
        scored = [r for r in self.rounds if r.test or self.protocol != "fixed"]
        if any(r.test.keys() != self.test.keys() for r in scored):
            raise ValueError("its rounds have other test sets than it has")

    @property
    def best(self) -> Round:
        """The chosen round."""
        return self.rounds[self.best_round]


@dataclass(frozen=True)
class Fingerprint:
    """``data.json``: hashes by which to tell that data are the same."""

    labels: str  # in order
    features: dict[str, str]  # feature set -> of its values
