"""A corpus: labelled utterances and their cached features, as every reader hands it on."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from mer_lightning.data.memmap import release
from mer_lightning.errors import UserError
from mer_lightning.files.recorded import Fingerprint

TRAIN_SPLITS = ("train", "val")
VALIDATION = ("dev", "valid", "validation", "development")  # other names of val
UNLABELLED = "unlabelled"  # the split that is learnt from without labels, and never scored
SPELLINGS = (UNLABELLED, "unlabeled")
NO_EMOTION = -1
NO_FOLD = -1
WHOLE = 100_000  # rows of a feature set up to which all are hashed
LONGEST_ID = 200
BLOCK = 8192  # rows checked at a time, so that a memory map stays a memory map


class Utterance(NamedTuple):
    """One row of ``labels.csv``. Unknown: emotion and group ``""``, valence NaN, fold -1."""

    id: str
    emotion: str = ""
    valence: float = float("nan")
    split: str = "train"
    group: str = ""
    fold: int = NO_FOLD


@dataclass(frozen=True)
class Corpus:
    """N utterances with their labels and features.

    features: name -> (N, D) float array, row i for utterance i; it may be a memory map. A row that is wholly
    NaN is missing: the utterance has no such features.
    levels: the acoustic feature sets, one fusion branch each; shared: the sets every branch sees.
    classes: the emotions, in the order of the network's outputs.
    synthetic: true where the data are made up, so that every figure can say so.
    extractors: name -> how the features were made, JSON values alone; {} or absent where it is not known.
    notes: what was not taken as it is written, a sentence each.
    """

    name: str
    utterances: tuple[Utterance, ...]
    features: dict[str, NDArray[np.floating]]
    levels: tuple[str, ...]
    shared: tuple[str, ...]
    classes: tuple[str, ...]
    synthetic: bool = False
    extractors: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def emotions(self) -> NDArray[np.int64]:
        """(N,) class indices; -1 where the emotion is unknown."""
        index = {name: i for i, name in enumerate(self.classes)} | {"": NO_EMOTION}
        return np.array([index[u.emotion] for u in self.utterances], dtype=np.int64)

    @property
    def valences(self) -> NDArray[np.float32]:
        """(N,) valences; NaN where unknown."""
        return np.array([u.valence for u in self.utterances], dtype=np.float32)

    @property
    def valence_variance(self) -> float:
        """Variance of the known valences of Train&Val; 1 where there is none, or one value."""
        known = self.valences[self.rows(TRAIN_SPLITS)]
        known = known[np.isfinite(known)].astype(np.float64)
        return float(known.var()) or 1.0 if len(known) else 1.0

    @property
    def dimensions(self) -> dict[str, int]:
        """Feature set -> D, the levels first."""
        return {name: int(self.features[name].shape[1]) for name in (*self.levels, *self.shared)}

    @property
    def tests(self) -> list[str]:
        """The names of the test sets."""
        return sorted({u.split for u in self.utterances} - {*TRAIN_SPLITS, UNLABELLED})

    @cached_property  # all features are read for it
    def fingerprint(self) -> Fingerprint:
        """Hashes by which to tell that data are the same: of the labels in order, and of each feature set.

        Of more than 100,000 rows, which may not fit in memory, the first and last thousand stand for all.
        """
        labels = repr((self.classes, [tuple(u) for u in self.utterances])).encode()
        features = {}
        for name, array in sorted(self.features.items()):
            parts = [array[:1000], array[-1000:]] if len(array) > WHOLE else [array]
            digest = hashlib.sha256(f"{array.shape} {array.dtype}".encode())
            for part in parts:
                digest.update(np.ascontiguousarray(part).data)
            features[name] = digest.hexdigest()
        return Fingerprint(hashlib.sha256(labels).hexdigest(), features)

    def rows(self, splits: Sequence[str]) -> NDArray[np.int64]:
        """Indices of the utterances in any of ``splits``, in order."""
        return np.array([i for i, u in enumerate(self.utterances) if u.split in splits], dtype=np.int64)


def cluster_keys(groups: Sequence[str], ids: Sequence[str]) -> list[str]:
    """What must stay together, and is drawn together, of each of N utterances: its group, else it alone."""
    return [f"group {g}" if g else f"utterance {i}" for g, i in zip(groups, ids, strict=True)]


def check_id(utterance_id: str, where: str) -> str:
    """The id itself, if it is safe as a file's name; a UserError otherwise.

    Ids name files in a feature folder, so one that could leave its folder is refused.
    """
    unsafe = (
        not utterance_id.strip()
        or len(utterance_id) > LONGEST_ID
        or utterance_id.startswith(".")
        or any(c in "/\\" or not c.isprintable() for c in utterance_id)
    )
    if unsafe:
        raise UserError(
            f"{where}: utterance id {utterance_id[:40]!r} cannot name a file: it must be 1 to "
            f"{LONGEST_ID} printable characters, without slashes, and not start with a dot"
        )
    return utterance_id


def emotion_classes(utterances: Sequence[Utterance], wanted: Sequence[str], where: str) -> tuple[str, ...]:
    """The class names: ``wanted`` if given, else those found, sorted.

    Raises UserError for an emotion outside ``wanted``.
    """
    found = {u.emotion for u in utterances if u.emotion}
    if wanted and (unknown := sorted(found - set(wanted))):
        raise UserError(f"{where}: emotion {unknown[0]!r} is not among data.classes={list(wanted)}")
    return tuple(wanted) or tuple(sorted(found))


def choose_tests(
    utterances: tuple[Utterance, ...], tests: Sequence[str] | None, where: Path | str
) -> tuple[tuple[Utterance, ...], NDArray[np.int64]]:
    """The utterances that ``data.tests`` leaves, and their rows (n,) among those given.

    None: all of them, every split but train and val being a test set; ``[]``: all of them, in train;
    otherwise Train&Val, validation sets of another name, and the named test sets alone. The split
    ``unlabelled`` is always there, is no test set, and loses whatever labels it has.

    Raises UserError if there is no utterance, or a named test set has none.
    """
    if not utterances:
        raise UserError(f"{where}: no utterances")
    utterances = tuple(_without_labels(u) if u.split.casefold() in SPELLINGS else u for u in utterances)
    there = sorted({u.split for u in utterances} - {*TRAIN_SPLITS, UNLABELLED})
    for name in tests or ():
        if name not in there:
            raise UserError(
                f"data.tests: no utterance of {where} is in test set {name!r}; test sets: {there}"
            )
    if tests is not None and not tests:
        utterances = tuple(u if u.split == UNLABELLED else u._replace(split="train") for u in utterances)
    wanted = {*filter(names_validation, there), *TRAIN_SPLITS, UNLABELLED}
    wanted |= {*(there if tests is None else tests)}
    rows = [i for i, u in enumerate(utterances) if u.split in wanted]
    return tuple(utterances[i] for i in rows), np.array(rows, dtype=np.int64)


def _without_labels(u: Utterance) -> Utterance:
    return u._replace(split=UNLABELLED, emotion="", valence=math.nan)


def names_validation(split: str) -> bool:
    """Whether a split is the validation set by another name than val."""
    return split != "val" and split.casefold() in ("val", *VALIDATION)


def check_features(
    name: str, array: NDArray[np.generic], n: int, where: Path | str, missing: int | None = 0
) -> NDArray[np.floating]:
    """``array`` as a float (N, D) feature set, finite but for the rows that are missing.

    missing: how many rows are wholly NaN; None: any number may be.
    Raises UserError, naming the file and a bad row, if it is not that.
    """
    if array.ndim != 2:
        raise UserError(f"{where}: expected a 2-d array (utterances, dimensions), found shape {array.shape}")
    if array.dtype.kind not in "fiu":
        raise UserError(f"{where}: expected numbers, found dtype {array.dtype}")
    if len(array) != n:
        raise UserError(
            f"{where}: {len(array)} rows for {n} utterances; row i must belong to row i of the labels"
        )
    if array.shape[1] == 0:
        raise UserError(f"{where}: feature set {name!r} has no dimensions")
    found = count_missing(name, array, where, admitted=missing != 0)
    if missing is not None and found != missing:
        raise UserError(f"{where}: {found} rows of {name!r} are missing (NaN), not {missing}; write it again")
    return cast("NDArray[np.floating]", array) if array.dtype.kind == "f" else array.astype(np.float32)


def count_missing(name: str, array: NDArray[Any], where: Path | str, admitted: bool = True) -> int:
    """How many rows of an (N, D) feature set are missing, which means wholly NaN.

    Raises UserError for the first other row with NaN or infinity, or for any where none is ``admitted``.
    """
    count = 0
    for start in range(0, len(array), BLOCK):
        block = np.asarray(array[start : start + BLOCK])
        bad = np.flatnonzero(~np.isfinite(block).all(axis=1))
        wrong = bad[~np.isnan(block[bad]).all(axis=1)] if admitted else bad
        if len(wrong):
            raise UserError(
                f"{where}: NaN or infinity in row {start + int(wrong[0])} (counted from 0) of {name!r}; "
                "fix or remove that utterance"
            )
        count += len(bad)
        release(array)
    return count
