"""Which clips there are, and which utterance of the labels each of them is."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mer_lightning.data.clips import Clip as Clip
from mer_lightning.data.clips import named_files
from mer_lightning.data.corpus import Utterance, check_id
from mer_lightning.data.labels import USUAL_GROUP, read_labels
from mer_lightning.data.readers.mertools import read_label_npz
from mer_lightning.errors import UserError

LABEL_FILES = ("labels.csv", "label-6way.npz")
# By suffix, so that labels, transcripts and pictures beside the clips are no clips.
MEDIA = (
    ".3g2", ".3gp", ".aac", ".ac3", ".aif", ".aiff", ".amr", ".ape", ".au", ".avi", ".caf", ".dv", ".f4v",
    ".flac", ".flv", ".gif", ".m2ts", ".m4a", ".m4v", ".mka", ".mkv", ".mov", ".mp3", ".mp4", ".mpeg", ".mpg",
    ".mts", ".mxf", ".oga", ".ogg", ".ogv", ".opus", ".rm", ".ts", ".vob", ".wav", ".webm", ".wma", ".wmv",
    ".wv",
)  # fmt: skip


class Found(NamedTuple):
    """The clips of a folder, sorted by id, and what did not match."""

    clips: list[Clip]
    without_clip: list[str]  # ids of the labels that no clip has
    without_label: list[str]  # clips that the labels do not name; they are left out


def all_clips(path: Path) -> list[Clip]:
    """A clip, or all clips below a folder, without labels, sorted by id. UserError if there is none."""
    return [Clip(Utterance(name), file) for name, file in sorted(media_files(path).items())]


def find_clips(path: Path, labels: Path | None = None) -> Found:
    """All clips below a folder, with their labels.

    labels: a ``labels.csv`` or MERTools' ``.npz``; None: one of them beside the clips, where there is one;
    else nothing is known of the clips, and all are in split ``train``. A column ``clip_file`` says which is
    an utterance's, as a path below the folder; without it, files are found by their names.
    Raises UserError if there is no clip, or if two have one name.
    """
    labels = labels or next((path / name for name in LABEL_FILES if (path / name).is_file()), None)
    if labels is None:
        return Found(all_clips(path), [], [])
    named = named_files(labels, path) if labels.suffix != ".npz" else {}
    files = {name: file for name, file in named.items() if file.is_file()} if named else media_files(path)
    if not files:
        raise UserError(f"{labels}: none of the files that its column clip_file names is in input={path}")
    clips = [Clip(Utterance(name), file) for name, file in sorted(files.items())]
    utterances = {u.id: u for u in read_label_file(labels)}
    labelled = [Clip(utterances[c.id], c.path) for c in clips if c.id in utterances]
    if not labelled:
        raise UserError(
            f"{labels}: none of its {len(utterances)} utterances is a clip of {path}, where there is "
            f"{clips[0].id!r}; utterance_id must be the clip's name without its suffix"
        )
    there = {c.id for c in clips}
    return Found(labelled, sorted(utterances.keys() - there), sorted(there - utterances.keys()))


def read_label_file(path: Path) -> tuple[Utterance, ...]:
    """The utterances of a label file of either kind."""
    return read_label_npz(path) if path.suffix == ".npz" else read_labels(path, USUAL_GROUP)


def media_files(path: Path) -> dict[str, Path]:
    """Clip name -> file, for a file or a folder and those below it; hidden ones are left out."""
    if path.is_file():
        return {check_id(path.stem, str(path)): path}
    if not path.is_dir():
        raise UserError(f"input={path}: no such file or folder")
    files: dict[str, Path] = {}
    for file in sorted(path.rglob("*")):
        hidden = any(part.startswith(".") for part in file.relative_to(path).parts)
        if hidden or file.suffix.lower() not in MEDIA or not file.is_file():
            continue
        if file.stem in files:
            raise UserError(
                f"{file} and {files[file.stem]} are both called {file.stem!r}; names must be different"
            )
        files[check_id(file.stem, str(file))] = file
    if not files:
        raise UserError(f"input={path}: no audio or video file in it; known suffixes: {' '.join(MEDIA)}")
    return files


def in_shard(clips: Sequence[Clip], part: int, parts: int) -> list[Clip]:
    """The clips of one of ``parts`` shards: by the hash of their names, so that no order matters."""
    return [c for c in clips if int(hashlib.sha256(c.id.encode()).hexdigest()[:8], 16) % parts == part]
