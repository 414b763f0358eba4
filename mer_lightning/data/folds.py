"""Folds over Train&Val: by speaker where speakers are known, emotions balanced; or one, the split val."""

import csv
import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mer_lightning.config.groups import DataConfig
from mer_lightning.data.corpus import NO_FOLD, TRAIN_SPLITS, Corpus, Utterance, cluster_keys
from mer_lightning.data.labels import read_table, whole_number
from mer_lightning.errors import UserError
from mer_lightning.files.atomic import write_text


def draw_folds(corpus: Corpus, folds: int | str, seed: int, protocol: str = "paper") -> NDArray[np.int64]:
    """(n,) the fold, 0 to F-1, of every utterance of Train&Val, in the order of ``corpus.rows``.

    folds: how many, or ``"column"`` for those of the labels. An utterance whose group is unknown is a
    group of its own; unknown emotions are balanced like another class.
    protocol: ``fixed``: one fold, the split val; -1: those of train, which is never held out.
    Raises UserError if there is too little to fill every fold.
    """
    utterances = _trainval(corpus)
    if protocol == "fixed":
        return _fixed(utterances)
    if isinstance(folds, str):
        return _column(utterances)
    parts = _split(utterances, folds, seed)
    if empty := sorted(set(range(folds)) - set(parts.tolist())):
        raise UserError(f"data.folds={folds}: fold {empty[0]} would be empty; ask for fewer folds")
    return parts


class FoldParts(NamedTuple):
    """Of one fold's run: (n,) bool masks over Train&Val."""

    train: NDArray[np.bool_]
    stopping: NDArray[np.bool_]  # stops training, chooses the round
    held_out: NDArray[np.bool_]  # is scored


def fold_parts(folds: NDArray[np.int64], fold: int, protocol: str) -> FoldParts:
    """Who does what when ``fold`` is held out.

    ``paper``, ``fixed``: the held-out fold also stops training. ``nested``: the next fold, cyclically, does.
    """
    held_out = folds == fold
    stopping = folds == (fold + 1) % (int(folds.max()) + 1) if protocol == "nested" else held_out
    return FoldParts(~held_out & ~stopping, stopping, held_out)


def check_folds(
    corpus: Corpus, folds: NDArray[np.int64], protocol: str = "paper", monitor: str = "score"
) -> list[str]:
    """Warnings, a line each, for the emotions that the training part of a fold lacks.

    Raises UserError if a training part has fewer than two emotions, a stopping part has none, or no valence
    where ``monitor``, what stops training, needs it.
    """
    if protocol == "nested" and folds.max() < 2:
        raise UserError("protocol=nested needs three folds or more: one to stop training, one to score")
    rows, lines = corpus.rows(TRAIN_SPLITS), []
    emotions, valences = corpus.emotions[rows], corpus.valences[rows]
    for fold in range(int(folds.max()) + 1):
        parts = fold_parts(folds, fold, protocol)
        if not (emotions[parts.stopping] >= 0).any():
            raise UserError(
                f"fold {fold}: no emotion is known in the part that stops its training; label some "
                "utterances there, or change data.folds"
            )
        if monitor in ("dim", "com") and not np.isfinite(valences[parts.stopping]).any():
            raise UserError(
                f"trainer.monitor={monitor}: fold {fold} has no known valence in the part that stops its "
                "training; monitor a score of emotions, or score, which does without"
            )
        there = {corpus.classes[e] for e in set(emotions[parts.train].tolist()) if e >= 0}
        if len(there) < 2:
            raise UserError(
                f"fold {fold}: its training part has {len(there)} emotions and needs two; label more "
                "utterances, or change data.folds"
            )
        if lacking := [name for name in corpus.classes if name not in there]:
            lines.append(f"fold {fold}: no {', '.join(lacking)} in its training part")
    return lines


def straddling(groups: Sequence[str], folds: NDArray[np.int64]) -> list[str]:
    """The groups, (n,) with "" where not known, that have utterances in more than one fold."""
    seen: dict[str, set[int]] = {}
    for group, fold in zip(groups, folds.tolist(), strict=True):
        seen.setdefault(group, set()).add(fold)
    return sorted(group for group, own in seen.items() if group and len(own) > 1)


def check_groups(
    corpus: Corpus, folds: NDArray[np.int64], config: DataConfig, protocol: str = "paper"
) -> list[str]:
    """A warning where utterances that must stay together do not, or nobody says which must."""
    groups = [u.group for u in _trainval(corpus)]
    if protocol == "fixed" or not config.group:
        return []
    if apart := straddling(groups, folds):
        return [
            f"data.folds=column: {len(apart)} of {len({*groups} - {''})} of column {config.group} are in "
            f"several folds ({apart[0]}, for example), which flatters Train&Val"
        ]
    if isinstance(config.folds, str) or any(u.group for u in corpus.utterances):
        return []
    return [
        "no speakers are known, so clips of one speaker may be in several folds, which flatters Train&Val; "
        "if the labels have a column of speakers or videos, name it by data.group"
    ]


def write_folds(path: Path, corpus: Corpus, folds: NDArray[np.int64]) -> None:
    """Write ``utterance_id,fold``; the file appears whole or not at all."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("utterance_id", "fold"))
    cells = ["" if fold == NO_FOLD else fold for fold in folds.tolist()]
    writer.writerows(zip((u.id for u in _trainval(corpus)), cells, strict=True))
    write_text(path, text.getvalue())


def read_folds(path: Path, corpus: Corpus) -> NDArray[np.int64]:
    """(n,) the folds of a file, in the order of the corpus.

    Raises UserError if the file is not about exactly the utterances of Train&Val.
    """
    there = {
        row["utterance_id"]: whole_number(row["fold"], "fold", f"{path}, line {line}")
        for line, row in read_table(path, "fold")
    }
    ids = [u.id for u in _trainval(corpus)]
    if differing := sorted(set(ids) ^ set(there)):
        raise UserError(
            f"{path}: folds of other data, utterance {differing[0]!r} is not in both; start a new run"
        )
    train = {u.id for u in _trainval(corpus) if u.split == "train"}
    empty = {i for i, fold in there.items() if fold == NO_FOLD}
    if empty and empty != train:  # which protocol=fixed never holds out
        raise UserError(
            f"{path}: utterance {sorted(empty)[0]!r} has no fold; restore the file, or start a new run"
        )
    numbers = set(there.values()) - {NO_FOLD}
    if not numbers or min(numbers) != 0 or max(numbers) + 1 != len(numbers):
        raise UserError(f"{path}: the folds must be numbered 0, 1, ... without gaps")
    return np.array([there[i] for i in ids], dtype=np.int64)


def _trainval(corpus: Corpus) -> list[Utterance]:
    return [corpus.utterances[i] for i in corpus.rows(TRAIN_SPLITS)]


def _fixed(utterances: list[Utterance]) -> NDArray[np.int64]:
    """Fold 0 for the split val, none for train."""
    folds = np.array([0 if u.split == "val" else NO_FOLD for u in utterances], dtype=np.int64)
    for name, there in (("train", folds == NO_FOLD), ("val", folds == 0)):
        if not there.any():
            raise UserError(
                f"protocol=fixed trains on the split train and stops on val, and no utterance is in {name}; "
                "fix the labels' split column, or take protocol=paper or nested, which draw folds"
            )
    return folds


def _column(utterances: list[Utterance]) -> NDArray[np.int64]:
    """The folds of the labels, renumbered from 0."""
    for u in utterances:
        if u.fold == NO_FOLD:
            raise UserError(f"data.folds=column: utterance {u.id!r} has no fold in the labels")
    numbers = {fold: i for i, fold in enumerate(sorted({u.fold for u in utterances}))}
    if len(numbers) < 2:
        raise UserError("data.folds=column: the labels' fold column must name at least two folds")
    return np.array([numbers[u.fold] for u in utterances], dtype=np.int64)


def _split(utterances: list[Utterance], folds: int, seed: int) -> NDArray[np.int64]:
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    known = any(u.group for u in utterances)
    groups = cluster_keys([u.group for u in utterances], [u.id for u in utterances])
    if len(set(groups)) < folds:
        what = "groups (data.group)" if known else "utterances"
        raise UserError(
            f"data.folds={folds}: only {len(set(groups))} {what} in Train&Val; ask for fewer folds"
        )
    splitter = StratifiedGroupKFold if known else StratifiedKFold
    parts = np.empty(len(utterances), dtype=np.int64)
    with warnings.catch_warnings():  # an emotion rarer than folds: check_folds says it better
        warnings.simplefilter("ignore")
        drawn = splitter(folds, shuffle=True, random_state=seed).split(
            groups, _strata(utterances, folds), groups
        )
        for fold, (_, held_out) in enumerate(drawn):
            parts[held_out] = fold
    return parts


def _strata(utterances: list[Utterance], folds: int) -> list[str]:
    """Emotions; one stratum for all if each is too rare to be spread, which scikit-learn refuses."""
    emotions = [u.emotion for u in utterances]
    common = max(emotions.count(name) for name in set(emotions)) >= folds
    return emotions if common else [""] * len(emotions)
