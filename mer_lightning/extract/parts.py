"""What is done of an extraction: one small file per clip beside the store that will be made of them.

A clip's file is there whole or not at all, so a killed extraction goes on where it stopped, and shards on
many machines can work towards one store.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from mer_lightning.errors import UserError, reading
from mer_lightning.extract.encoder import Features
from mer_lightning.run_directory import UNFINISHED, write_text


@dataclass(frozen=True)
class Record:
    """What was seen and heard of a clip."""

    seconds: float = 0.0  # of speech
    frames: int = 0  # looked at
    faces: int = 0  # of them, with the face that was followed
    notes: list[str] = field(default_factory=list)  # conditions: no speech, no face, cut short


@dataclass(frozen=True)
class Part:
    """A clip's outcome: features of the sets that could be made, or the reason why there are none."""

    id: str
    record: Record
    features: Features
    failure: str = ""


class Parts:
    """The folder ``STORE.parts``."""

    def __init__(self, store: Path) -> None:
        self.path = store.with_name(f"{store.name}.parts")

    @property
    def lock(self) -> Path:
        """Held by the process that makes the store."""
        return self.path / ".lock"

    def begin(self, provenance: Mapping[str, Mapping[str, Any]]) -> None:
        """Note how the features are made. UserError if the parts there were made in another way."""
        file = self.path / "provenance.json"
        if file.is_file():
            with reading(file, f"remove {self.path} to start again"):
                theirs = json.loads(file.read_text(encoding="utf-8"))
            if theirs != provenance:
                raise UserError(
                    f"{self.path}: unfinished, with {differing(theirs, provenance)}; continue with the same "
                    "settings, give another output, or remove it"
                )
        else:
            try:
                write_text(file, json.dumps(provenance, indent=1, ensure_ascii=False))
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
        handle, temporary = tempfile.mkstemp(UNFINISHED, ".part.", self.path)
        os.close(handle)
        try:
            save_file(part.features, temporary, {"part": json.dumps(record)})
            os.replace(temporary, self._file(part.id))  # noqa: PTH105
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        self._failed(part.id).unlink(missing_ok=True)

    def read(self, clip: str) -> Part:
        """A clip's outcome. UserError if its file is damaged, or is not there."""
        if not self.has(clip):
            with reading(self._failed(clip), "run the same command again"):
                return Part(
                    clip, Record(), {}, str(json.loads(self._failed(clip).read_text("utf-8"))["reason"])
                )
        path = self._file(clip)
        with reading(path, "remove it, and run the same command again"), safe_open(path, "numpy") as file:
            about = json.loads(file.metadata()["part"])
            features = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if about["id"] != clip or about["digest"] != _digest(features):
                raise ValueError("its content does not match its digest")
            return Part(clip, Record(**about["record"]), features)

    def remove(self) -> None:
        """All of it, once the store is there."""
        for file in self.path.iterdir():
            if file != self.lock:
                file.unlink()

    def _file(self, clip: str) -> Path:
        return self.path / f"{_name(clip)}.safetensors"

    def _failed(self, clip: str) -> Path:
        return self.path / f"{_name(clip)}.failed.json"


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


def _name(clip: str) -> str:
    return hashlib.sha256(clip.encode()).hexdigest()[:32]  # ids may be longer than file names


def _digest(features: Features) -> str:
    digest = hashlib.sha256()
    for name in sorted(features):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(features[name]).data)
    return digest.hexdigest()
