"""Clips with what their labels say, and the label file that names each clip's file."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from mer_lightning.data.corpus import NO_FOLD, Utterance
from mer_lightning.data.labels import read_table
from mer_lightning.errors import UserError
from mer_lightning.files.atomic import new_file

CLIP_FILE = "clip_file"
COLUMNS = ("utterance_id", "emotion", "valence", "split", "speaker", "fold", "transcript", CLIP_FILE)


class Clip(NamedTuple):
    """A media file, and what is known of it."""

    utterance: Utterance
    path: Path
    transcript: str = ""  # "": unknown

    @property
    def id(self) -> str:
        """The utterance's id: the file's name without its suffix, unless the labels say which file it is."""
        return self.utterance.id


def write_clip_labels(path: Path, clips: Sequence[Clip], root: Path) -> None:
    """A ``labels.csv`` with transcripts, and each clip's file as a path below ``root``."""
    with new_file(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for clip in clips:
            u = clip.utterance
            valence = "" if math.isnan(u.valence) else repr(float(u.valence))
            fold = "" if u.fold == NO_FOLD else u.fold
            where = clip.path.relative_to(root).as_posix()
            writer.writerow((u.id, u.emotion, valence, u.split, u.group, fold, clip.transcript, where))


def named_files(labels: Path, folder: Path) -> dict[str, Path]:
    """Utterance id -> file below ``folder``, of labels with a column ``clip_file``; else nothing.

    A cell may be empty. Raises UserError for a path that leaves the folder.
    """
    files: dict[str, Path] = {}
    for line, row in read_table(labels):
        if CLIP_FILE not in row:
            return {}
        inside = PurePosixPath(row[CLIP_FILE].strip())
        if inside.is_absolute() or ".." in inside.parts:
            raise UserError(
                f"{labels}, line {line}: clip_file {str(inside)[:80]!r} is no path below the clips"
            )
        if inside.parts:
            files[row["utterance_id"]] = folder / inside
    return files
