"""MMSA's pickles, ``aligned_50.pkl`` and ``unaligned_50.pkl`` of MOSI, MOSEI and SIMS.

``{train, valid, test: {id, regression_labels, annotations, audio, vision, text, ...}}``, features (N, T, D).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mer_lightning.config.groups import DataConfig
from mer_lightning.data.corpus import (
    Corpus,
    Utterance,
    check_features,
    check_id,
    choose_tests,
    emotion_classes,
)
from mer_lightning.data.labels import LARGEST_VALENCE
from mer_lightning.data.paths import data_root, label_file, require_sets
from mer_lightning.data.readers.pickles import read_arrays
from mer_lightning.errors import UserError

SPLITS = {"train": "train", "valid": "val", "test": "test"}
FILE = "unaligned_50.pkl"
MARK = "$_$"  # between a video's name and its clip's
Part = Mapping[str, Any]


def read_mmsa(config: DataConfig) -> Corpus:
    """The corpus of a pickle: float32 features, a mean over each clip's frames that are not all zero.

    A clip without such a frame lacks the feature set. The video is the group.
    Raises UserError, naming the file and the part of it, for whatever does not fit together.
    """
    path = label_file(data_root(config.root), config.labels, FILE)
    found = read_arrays(path)
    parts: dict[str, Part] = (
        {name: found[name] for name in SPLITS if name in found} if isinstance(found, dict) else {}
    )
    if "train" not in parts or not all(isinstance(part, dict) for part in parts.values()):
        raise UserError(f"{path}: not a pickle of MMSA, which holds a dict with train, valid and test")
    everyone = [u for name, part in parts.items() for u in _utterances(part, SPLITS[name], f"{path}, {name}")]
    if len({u.id for u in everyone}) < len(everyone):
        raise UserError(f"{path}: some id is there twice")
    if not config.group:
        everyone = [u._replace(group="") for u in everyone]
    utterances, rows = choose_tests(tuple(everyone), config.tests, path)
    features, notes = {}, ["features are means over each clip's frames that are not all zero"]
    for name in (*config.levels, *config.shared):
        means, odd = zip(
            *(_means(part, name, f"{path}, {split}") for split, part in parts.items()), strict=True
        )
        if len({mean.shape[1] for mean in means}) > 1:
            raise UserError(f"{path}: {name!r} has different dimensions in train, valid and test")
        features[name] = check_features(name, np.concatenate(means), len(everyone), path, missing=None)[rows]
        if sum(odd):
            notes.append(f"{sum(odd)} numbers of {name} are NaN or infinite, and taken for 0")
    return Corpus(
        name=path.parent.resolve().name,
        utterances=utterances,
        features=features,
        levels=tuple(config.levels),
        shared=tuple(config.shared),
        classes=emotion_classes(utterances, config.classes, path.name),
        notes=tuple(notes),
    )


def _utterances(part: Part, split: str, where: str) -> list[Utterance]:
    ids, valences = (_column(part, name, where) for name in ("id", "regression_labels"))
    emotions = _column(part, "annotations" if "annotations" in part else "classification_labels", where)
    if not len(ids) == len(valences) == len(emotions):
        raise UserError(f"{where}: {len(ids)} ids, {len(valences)} valences and {len(emotions)} emotions")
    return [_utterance(*row, split, where) for row in zip(ids, emotions, valences, strict=True)]


def _utterance(clip: object, emotion: object, valence: object, split: str, where: str) -> Utterance:
    if not isinstance(clip, str):
        raise UserError(f"{where}: ids are text, found a {type(clip).__name__}")
    name = check_id(clip.replace("/", MARK), where)  # SIMS has video/clip
    if isinstance(emotion, float | int):
        emotion = "" if emotion != emotion else f"{emotion:g}"
    if not isinstance(emotion, str) or not emotion.isprintable():
        raise UserError(f"{where}: clip {name!r} has an emotion of type {type(emotion).__name__}")
    if not isinstance(valence, float | int) or abs(valence) > LARGEST_VALENCE:
        raise UserError(f"{where}: clip {name!r} has a regression label that is no number")
    return Utterance(name, emotion.strip(), float(valence), split, name.partition(MARK)[0])


def _column(part: Part, name: str, where: str) -> Sequence[object]:
    """(N,) plain values of a list, or of an array (N,) or (N, 1)."""
    found = part.get(name)
    if isinstance(found, np.ndarray) and found.size == len(found):
        found = found.reshape(-1).tolist()
    if not isinstance(found, list):
        raise UserError(f"{where}: no list of {name!r}; there are: {', '.join(sorted(part))[:200]}")
    return found


def _means(part: Part, name: str, where: str) -> tuple[NDArray[np.float32], int]:
    """(N, D), NaN where a clip has no frame, of (N, T, D) or (N, D); and how many numbers were not finite."""
    sets = {
        key: a
        for key, a in part.items()
        if isinstance(a, np.ndarray) and a.ndim in (2, 3) and a.dtype.kind in "fiu"
    }
    require_sets([name], sets, where)
    array = sets[name] if sets[name].ndim == 3 else sets[name][:, None]
    n = len(_column(part, "id", where))
    if len(array) != n:
        raise UserError(f"{where}: {len(array)} rows of {name!r} for {n} ids")
    means, odd = np.full((n, array.shape[2]), np.nan, np.float32), 0
    for row, frames in enumerate(array):  # one by one: all of a large set at once would not fit in memory
        finite = np.isfinite(frames)
        odd += frames.size - int(finite.sum())
        frames = np.where(finite, frames, 0)
        if (seen := frames.any(axis=1)).any():
            means[row] = frames[seen].mean(axis=0, dtype=np.float64)
    return means, odd
