"""What a run directory holds as JSON, as types: ``results.json`` and ``data.json``."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Scores:
    """Dis: weighted F1 in [0, 1]; Dim: mean squared error of valence; Com = Dis - 0.25 Dim.

    None where the labels do not say: no emotion known, or no valence known.
    """

    dis: float | None
    dim: float | None
    com: float | None


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
    validation: Scores  # of the out-of-fold predictions
    by_fold: list[Scores]
    test: dict[str, Scores]
    compact_error: float
    notes: list[str]


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
    protocol: str
    transductive: bool  # whether the test sets' features were learnt from
    data: Data
    rounds: list[Round]
    best_round: int
    chosen_by: str
    validation: Scores
    test: dict[str, Scores]
    versions: dict[str, str]
    seconds: float

    def __post_init__(self) -> None:
        if not self.rounds or [r.round for r in self.rounds] != list(range(len(self.rounds))):
            raise ValueError("rounds are not numbered 0, 1, ...")
        if self.best_round not in range(len(self.rounds)):
            raise ValueError("best_round is none of its rounds")
        if any(r.test.keys() != self.test.keys() for r in self.rounds):
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
