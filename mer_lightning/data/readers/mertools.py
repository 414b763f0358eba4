"""MERTools' layout: ``label-6way.npz`` and ``features/NAME/CLIP.npy``."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mer_lightning.config.groups import DataConfig
from mer_lightning.data.arrays import load_npy, to_float
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
from mer_lightning.data.readers.label_npz import read_corpora
from mer_lightning.errors import UserError

MISSING_VALENCE = -10


def read_mertools(config: DataConfig) -> Corpus:
    """The corpus of a MERTools folder: float32 features, averaged over time.

    Raises UserError, naming the file or the clip, for whatever does not fit together.
    """
    root = data_root(config.root)
    names = (*config.levels, *config.shared)
    folder = root / "features"
    require_sets(names, (path.name for path in folder.glob("*") if path.is_dir()), folder)
    labels = label_file(root, config.labels, "label-6way.npz")
    utterances, _ = choose_tests(read_label_npz(labels), config.tests, labels)
    clips = [u.id for u in utterances]
    return Corpus(
        name=root.resolve().name,
        utterances=utterances,
        features={name: _read_set(folder / name, clips) for name in names},
        levels=tuple(config.levels),
        shared=tuple(config.shared),
        classes=emotion_classes(utterances, config.classes, str(labels)),
    )


def read_label_npz(path: Path) -> tuple[Utterance, ...]:
    """The utterances of a label archive; key ``train_corpus`` is split ``train``, and so on."""
    utterances: dict[str, Utterance] = {}
    for split, table in read_corpora(path).items():
        found = [_utterance(clip, entry, split, f"{path}, {split}_corpus") for clip, entry in table.items()]
        for u in _without_placeholders(found):
            if u.id in utterances:
                raise UserError(
                    f"{path}: clip {u.id!r} is in {utterances[u.id].split}_corpus and {split}_corpus"
                )
            utterances[u.id] = u
    return tuple(utterances.values())


def _utterance(clip: object, entry: object, split: str, where: str) -> Utterance:
    if not isinstance(clip, str):
        raise UserError(f"{where}: clips are named by text, found a name of type {type(clip).__name__}")
    where = f"{where}, clip {check_id(clip, where)!r}"
    if not isinstance(entry, dict):
        raise UserError(f"{where}: expected {{'emo': text, 'val': number}}, found a {type(entry).__name__}")
    emotion = "" if entry.get("emo") is None else entry["emo"]
    if not isinstance(emotion, str) or not emotion.strip().isprintable():
        raise UserError(f"{where}: emo must be a word, found {_shown(emotion)}")
    return Utterance(clip, emotion.strip(), _valence(entry.get("val"), where), split)


def _valence(value: Any, where: str) -> float:
    """The valence; NaN for -10 and for none at all."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return math.nan
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.inf
    if abs(number) > LARGEST_VALENCE:
        raise UserError(f"{where}: val must be a number, found {_shown(value)}")
    return math.nan if number == MISSING_VALENCE else number


def _shown(value: object) -> str:
    """A value for a message; of odd ones the type alone, for their text may have no end."""
    return repr(value)[:40] if isinstance(value, str | float) else f"a value of type {type(value).__name__}"


def _without_placeholders(split: Sequence[Utterance]) -> list[Utterance]:
    """A split's utterances, those whose labels are unknown without an emotion.

    MERTools writes neutral/-10 for an unknown label. In a split without any valence, but with other
    emotions, neutral is an emotion as real as those.
    """
    no_valence = all(math.isnan(u.valence) for u in split)
    if no_valence and {u.emotion for u in split} - {"", "neutral"}:
        return list(split)
    return [u._replace(emotion="") if u.emotion == "neutral" and math.isnan(u.valence) else u for u in split]


def _read_set(folder: Path, clips: Sequence[str]) -> NDArray[np.floating]:
    """(N, D) float32: one averaged vector per clip."""
    lost = [clip for clip in clips if not (folder / f"{clip}.npy").is_file() and not (folder / clip).is_dir()]
    if lost:
        raise UserError(
            f"{folder / lost[0]}.npy: no such file or folder of frames, for clip {lost[0]!r} "
            f"({len(lost)} of {len(clips)} clips are missing in {folder.name!r}); extract them, or leave "
            "their split out with data.tests"
        )
    first = _read_clip(folder, clips[0])
    features = np.empty((len(clips), len(first)), dtype=np.float32)
    for row, clip in enumerate(clips):
        vector = _read_clip(folder, clip)
        if len(vector) != len(first):
            raise UserError(
                f"{folder / clip}: clip {clip!r} has {len(vector)} dimensions, clip {clips[0]!r} {len(first)}"
            )
        features[row] = vector
    return check_features(folder.name, features, len(clips), folder)


def _read_clip(folder: Path, clip: str) -> NDArray[np.floating]:
    """(D,): the mean over time of ``CLIP.npy``, or of the frames in ``CLIP/``."""
    file = folder / f"{clip}.npy"
    if file.is_file():
        return _mean(_read_frames(file))
    frames = [_read_frames(path) for path in sorted((folder / clip).glob("*.npy"))]
    if not frames:
        raise UserError(f"{folder / clip}: no frames (.npy) for clip {clip!r}")
    if len({frame.shape for frame in frames}) > 1 or len(frames[0]) != 1:
        shapes = sorted({frame.shape for frame in frames})
        raise UserError(
            f"{folder / clip}: the frames of clip {clip!r} must be alike, (D,) each; found {shapes}"
        )
    return _mean(np.concatenate(frames))


def _mean(frames: NDArray[np.floating]) -> NDArray[np.float64]:
    mean: NDArray[np.float64] = frames.mean(axis=0, dtype=np.float64)
    return mean


def _read_frames(path: Path) -> NDArray[np.floating]:
    """(T, D), T >= 1, from an array (D,) or (T, D)."""
    array = to_float(load_npy(path))
    frames = array.reshape(1, -1) if array.ndim == 1 else array
    if frames.ndim == 2 and len(frames) == 0:
        raise UserError(f"{path}: no frames, shape {frames.shape}; extract this clip again")
    return check_features(path.stem, frames, len(frames) if frames.ndim else 0, path)
