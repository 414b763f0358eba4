"""What is done of an extraction: one small file per clip beside the store that will be made of them.

A clip's file is there whole or not at all, so a killed extraction goes on where it stopped, and shards on
many machines can work towards one store.
"""

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from safetensors import safe_open
from safetensors.numpy import save

from mer_lightning.errors import UserError, reading
from mer_lightning.extract.clips import Clip
from mer_lightning.extract.encoder import Features
from mer_lightning.files.atomic import UNFINISHED, write_bytes, write_text


@dataclass(frozen=True)
class ClipRecord:
    """What was seen and heard of a clip."""

    seconds: float = 0.0  # of speech
    frames: int = 0  # looked at
    faces: int = 0  # of them, with the face that was followed
    notes: list[str] = field(default_factory=list)  # conditions: no speech, no face, cut short
    transcript: str = ""  # as it was given or made, where an encoder reads it


@dataclass(frozen=True)
class Part:
    """A clip's outcome: features of the sets that could be made, or the reason why there are none."""

    id: str
    record: ClipRecord
    features: Features
    failure: str = ""


class Parts:
    """The folder ``STORE.parts``. An outcome counts for the clip as it was: a changed one is done again."""

    def __init__(self, store: Path, clips: Iterable[Clip]) -> None:
        self.path = store.with_name(f"{store.name}.parts")
        self._names = {clip.id: _name(clip) for clip in clips}

    def lock(self, name: str) -> FileLock:
        """Held by a process at work; never waits."""
        return FileLock(self.path / f".{name}.lock", timeout=0)

    def begin(self, provenance: Mapping[str, Mapping[str, Any]]) -> None:
        """Note how the features are made. UserError if the parts there were made in another way."""
        if self._provenance.is_file():
            with reading(self._provenance, f"remove {self.path} to start again"):
                theirs = json.loads(self._provenance.read_text(encoding="utf-8"))
            if theirs != provenance:
                raise UserError(
                    f"{self.path}: unfinished, with {differing(theirs, provenance)}; continue with the same "
                    "settings, give another output, or remove it"
                )
        else:
            try:
                write_text(self._provenance, json.dumps(provenance, indent=1, ensure_ascii=False))
            except OSError as error:
                raise UserError(f"{self.path}: cannot be written: {error.strerror}") from error

    def has(self, clip: str) -> bool:
        """Whether the clip's features are there."""
        return self._file(clip).is_file()

    def tried(self, clip: str) -> bool:
        """Whether the clip's features are there, or it failed."""
        return self.has(clip) or self._failed(clip).is_file()

    def write(self, part: Part) -> None:
        """Keep an outcome."""
        if part.failure:
            write_text(self._failed(part.id), json.dumps({"id": part.id, "reason": part.failure}))
            return
        record = {"id": part.id, "record": asdict(part.record), "digest": _digest(part.features)}
        write_bytes(self._file(part.id), save(part.features, {"part": json.dumps(record)}))
        self._failed(part.id).unlink(missing_ok=True)

    def read(self, clip: str) -> Part:
        """A clip's outcome. UserError if its file is damaged, or is not there."""
        path = self._file(clip) if self.has(clip) else self._failed(clip)
        with reading(path, "remove it, and run the same command again"):
            if path == self._failed(clip):
                return Part(
                    clip, ClipRecord(), {}, str(json.loads(path.read_text(encoding="utf-8"))["reason"])
                )
            with safe_open(path, "numpy") as file:
                about = json.loads(file.metadata()["part"])
                features = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if about["id"] != clip or about["digest"] != _digest(features):
                raise ValueError("its content does not match its digest")
            return Part(clip, ClipRecord(**about["record"]), features)

    def remove(self) -> None:
        """What this program wrote there, when the store is made; the folder too, if nothing else is in it."""
        for pattern in (
            "*.safetensors",
            "*.failed.json",
            self._provenance.name,
            f".*{UNFINISHED}",
            ".*.lock",
        ):
            for file in self.path.glob(pattern):
                with suppress(OSError):  # another process may be at it, too
                    file.unlink()
        with suppress(OSError):
            self.path.rmdir()

    @property
    def _provenance(self) -> Path:
        return self.path / "provenance.json"

    def _file(self, clip: str) -> Path:
        return self.path / f"{self._names[clip]}.safetensors"

    def _failed(self, clip: str) -> Path:
        return self.path / f"{self._names[clip]}.failed.json"


def differing(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> str:
    """The first difference between two provenances, in words."""
    for name in sorted({*theirs, *ours}):
        if name not in theirs or name not in ours:
            return f"{'no ' if name not in theirs else ''}feature set {name}"
        for key in sorted({*theirs[name], *ours[name]}):
            a, b = theirs[name].get(key), ours[name].get(key)
            if a != b:
                return f"{name} made with {key} {a}, not {b}"
    return "other settings"


def _name(clip: Clip) -> str:
    """Of a clip's file here: ids may be longer than file names, and a clip or its transcript may change."""
    about = clip.path.stat()
    key = f"{clip.id}\0{about.st_size}\0{about.st_mtime_ns}\0{clip.transcript}"
    return hashlib.sha256(key.encode()).hexdigest()[:32]


def _digest(features: Features) -> str:
    digest = hashlib.sha256()
    for name in sorted(features):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(features[name]).data)
    return digest.hexdigest()


def failures_csv(failed: Iterable[tuple[str, str]]) -> str:
    """``utterance_id,reason`` of clips that could not be used."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("utterance_id", "reason"), *failed])
    return text.getvalue()
