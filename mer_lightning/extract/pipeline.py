"""Clips in, features out: decoded in threads a batch ahead, encoded together, one outcome per clip."""

import re
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from mer_lightning.config.extract import ExtractConfig, FacesConfig
from mer_lightning.data.arrays import brief
from mer_lightning.errors import UserError
from mer_lightning.extract.asr import Transcriber, make_transcriber
from mer_lightning.extract.clips import Clip, all_clips
from mer_lightning.extract.corrupt import Corruption, make_corruption
from mer_lightning.extract.detectors import FaceDetector, detector_name, make_detector
from mer_lightning.extract.encoder import Encoder, Source
from mer_lightning.extract.faces import Faces, read_faces, read_pictures
from mer_lightning.extract.media import SAMPLE_RATE, Frame, Unreadable, read_frames, read_speech
from mer_lightning.extract.parts import Part, Record
from mer_lightning.extract.progress import shown
from mer_lightning.extract.registry import encoders_of, make_encoders
from mer_lightning.extract.transcripts import with_transcripts
from mer_lightning.results.description import check_extractors
from mer_lightning.training.cores import cores

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

# source -> the note of a clip that lacks it
MISSING = {"speech": "no speech", "faces": "no face", "frames": "no picture", "text": "no transcript"}
Settings = TypeVar("Settings", bound="DataclassInstance")


@dataclass(frozen=True)
class Decoded:
    """A clip ready for the encoders, or the reason why it is not."""

    id: str
    record: Record = field(default_factory=Record)
    inputs: dict[Source, Any] = field(default_factory=dict)
    failure: str = ""


class Decoder:
    """Reads clips; may be called from several threads."""

    def __init__(
        self,
        sources: set[Source],
        settings: FacesConfig,
        transcribe: Transcriber | None = None,
        corrupt: Corruption | None = None,
    ) -> None:
        self.sources, self.settings = sources, settings
        self.transcribe, self.corrupt = transcribe, corrupt
        self._of_thread = threading.local()  # detectors are not made for two threads at a time
        if "faces" in sources:
            make_detector(settings.detector)  # one that cannot be made is known before any clip is read

    def __call__(self, clip: Clip) -> Decoded:
        """Decode what the encoders need."""
        record, inputs = Record(), dict[Source, Any]()
        try:
            if "speech" in self.sources:
                record = self._hear(clip, record, inputs)
            if "faces" in self.sources:
                record = self._look(record, inputs, "faces", self._faces(clip))
            if "frames" in self.sources:
                record = self._look(record, inputs, "frames", read_pictures(self._frames(clip)))
            if "text" in self.sources:
                record = self._read(clip, record, inputs)
        except Unreadable as error:
            return Decoded(clip.id, failure=str(error))
        except Exception as error:  # whatever strangers' files make of the libraries: one clip is not all
            return Decoded(clip.id, failure=f"cannot be read: {brief(error)}")
        for source in sorted(self.sources - inputs.keys()):
            record = noted(record, MISSING[source])
        return Decoded(clip.id, record, inputs, "" if inputs else ", ".join(record.notes))

    def _hear(self, clip: Clip, record: Record, inputs: dict[Source, Any]) -> Record:
        speech = read_speech(clip.path)
        if speech is None:
            return record
        inputs["speech"] = self.corrupt.speech(clip, speech.samples) if self.corrupt else speech.samples
        record = replace(record, seconds=round(len(speech.samples) / SAMPLE_RATE, 3))
        return noted(record, "" if speech.complete else "speech cut short")

    def _frames(self, clip: Clip) -> Iterator[Frame]:
        if not self.corrupt:
            return read_frames(clip.path, self.settings.fps)
        return self.corrupt.frames(clip, read_frames(clip.path, self.corrupt.fps(self.settings.fps)))

    def _faces(self, clip: Clip) -> Faces:
        return read_faces(self._frames(clip), self.settings.margin, self._detector())

    def _look(self, record: Record, inputs: dict[Source, Any], source: Source, seen: Faces) -> Record:
        if len(seen.crops):
            inputs[source] = seen.crops
        record = replace(record, frames=seen.frames_seen, faces=record.faces + seen.faces_found)
        return noted(record, "" if seen.complete else "video cut short")

    def _read(self, clip: Clip, record: Record, inputs: dict[Source, Any]) -> Record:
        text = clip.transcript
        if not text and self.transcribe and "speech" in inputs:
            text = self.transcribe(inputs["speech"])
        if text:
            inputs["text"] = text
        return replace(record, transcript=text)

    def _detector(self) -> FaceDetector:
        if not hasattr(self._of_thread, "detector"):
            self._of_thread.detector = make_detector(self.settings.detector)
        return self._of_thread.detector  # type: ignore[no-any-return]


def noted(record: Record, note: str) -> Record:
    """The record with one more note, unless it is empty or there already."""
    return replace(record, notes=[*record.notes, note]) if note and note not in record.notes else record


@dataclass(frozen=True)
class Pipeline:
    """Encoders and a decoder for what they need."""

    encoders: Sequence[Encoder]
    settings: ExtractConfig
    transcribe: Transcriber | None = None
    corrupt: Corruption | None = None

    @property
    def sources(self) -> set[Source]:
        """What the encoders, and what makes transcripts, need of a clip."""
        heard: set[Source] = {"speech"} if self.transcribe else set()
        return heard | {encoder.source for encoder in self.encoders}

    def decoder(self) -> Decoder:
        """What reads the clips."""
        return Decoder(self.sources, self.settings.faces, self.transcribe, self.corrupt)

    @property
    def provenance(self) -> dict[str, dict[str, Any]]:
        """Feature set -> how it is made, from the file to the numbers."""
        faces = self.settings.faces
        before: dict[Source, dict[str, Any]] = {
            "speech": {"sample_rate": SAMPLE_RATE},
            "faces": {"fps": faces.fps, "detector": detector_name(faces.detector), "margin": faces.margin},
            "frames": {"fps": faces.fps},
            "text": {"asr": self.transcribe.name} if self.transcribe else {},
        }
        return {
            name: made
            | before[encoder.source]
            | (self.corrupt.described(encoder.source) if self.corrupt else {})
            for encoder in self.encoders
            for name, made in encoder.provenance.items()
        }

    def run(self, clips: Sequence[Clip]) -> Iterator[list[Part]]:
        """The outcomes of all clips, in order; ``settings.clips`` of them are encoded and come together.

        At any time no more than two such batches are in memory.
        """
        decoder = self.decoder()
        size = self.settings.clips
        with ThreadPoolExecutor(min(size, cores())) as threads:
            waiting = deque[Future[Decoded]]()
            ahead = iter(clips)
            try:
                while True:
                    for clip in ahead:
                        waiting.append(threads.submit(decoder, clip))
                        if len(waiting) == 2 * size:
                            break
                    if not waiting:
                        return
                    batch = [waiting.popleft().result() for _ in range(min(size, len(waiting)))]
                    yield self.encode(batch)
            finally:
                threads.shutdown(wait=False, cancel_futures=True)

    def encode(self, batch: Sequence[Decoded]) -> list[Part]:
        """The features of decoded clips. One whose features are not finite fails."""
        parts = {d.id: Part(d.id, d.record, {}, d.failure) for d in batch}
        good = [d for d in batch if not d.failure]
        for encoder in self.encoders:
            able = [d for d in good if encoder.source in d.inputs]
            made = encoder.encode([d.inputs[encoder.source] for d in able]) if able else []
            for d, features in zip(able, made, strict=True):
                parts[d.id].features.update(features)
        return [finite(part) for part in parts.values()]


def make_pipeline(encoders: Sequence[Encoder], settings: ExtractConfig, clips: Sequence[Clip]) -> Pipeline:
    """Encoders with what makes transcripts, and what goes wrong with the clips, as the settings say."""
    return Pipeline(encoders, settings, make_transcriber(settings), make_corruption(settings.corrupt, clips))


def finite(part: Part) -> Part:
    """The same part, or a failure if any of its features is NaN or infinite."""
    bad = [name for name, row in part.features.items() if not np.isfinite(row).all()]
    return Part(part.id, part.record, {}, f"{bad[0]} became NaN or infinite") if bad else part


def judged(part: Part, missing: str) -> Part:
    """The same part; under ``missing=exclude``, a failure if it lacks speech or a face."""
    lacking = [note for note in part.record.notes if note in MISSING.values()]
    if missing == "exclude" and lacking and not part.failure:
        return Part(part.id, part.record, {}, ", ".join(lacking))
    return part


class Extracted(NamedTuple):
    """Features of N clips in memory."""

    ids: list[str]
    features: dict[str, NDArray[np.float32]]  # feature set -> (N, D); a wholly NaN row: missing
    failures: list[tuple[str, str]]  # clip, reason


def gather(parts: Sequence[Part]) -> dict[str, NDArray[np.float32]]:
    """Parts -> feature set -> (N, D), a wholly NaN row where a clip lacks the set."""
    dimensions = {name: len(row) for part in parts for name, row in part.features.items()}
    arrays = {name: np.full((len(parts), d), np.nan, np.float32) for name, d in sorted(dimensions.items())}
    for i, part in enumerate(parts):
        for name, row in part.features.items():
            arrays[name][i] = row
    return arrays


def pipeline_for(
    needed: Mapping[str, Mapping[str, Any]], settings: ExtractConfig, clips: Sequence[Clip] = ()
) -> Pipeline:
    """The pipeline that makes the feature sets a model needs, as those that it was trained on were made.

    needed: feature set -> how the model's was made, {} where that is not known. What changes the numbers is
    taken from there; which model to load, from the settings, for paths differ from machine to machine.
    Raises UserError if no encoder makes a set, or if another encoder would.
    """
    settings = as_needed(needed, settings)
    pipeline = make_pipeline(make_encoders(settings), settings, clips)
    if lacking := [name for name in needed if name not in pipeline.provenance]:
        raise UserError(
            f"the model needs the feature set {lacking[0]!r}; of a clip there can be made: "
            f"{', '.join(pipeline.provenance)}; give features as input instead"
        )
    check_extractors(needed, pipeline.provenance, "this extraction")
    return pipeline


def features_of_clips(
    path: Path, needed: Mapping[str, Mapping[str, Any]], settings: ExtractConfig
) -> Extracted:
    """The feature sets that a model needs, of a clip or of all clips below a folder.

    needed: see ``pipeline_for``. Raises UserError, besides, if no clip can be read.
    """
    clips = all_clips(path)
    pipeline = pipeline_for(needed, settings, clips)
    if "text" in pipeline.sources:
        clips = with_transcripts(clips, path if path.is_dir() else path.parent, settings)
    outcomes = list(shown(pipeline.run(clips), len(clips)))
    parts = [part for part in outcomes if not part.failure]
    failures = [(part.id, part.failure) for part in outcomes if part.failure]
    if not parts:
        raise UserError(f"{path}: no clip could be read; the first: {failures[0][0]}: {failures[0][1]}")
    return Extracted([part.id for part in parts], gather(parts), failures)


def as_needed(needed: Mapping[str, Mapping[str, Any]], settings: ExtractConfig) -> ExtractConfig:
    """The settings with the layers, windows, poolings and faces by which a model's features were made."""
    found = encoders_of(needed)
    changed: dict[str, Any] = {}
    for name, own in settings.encoders(found).items():
        changed[name] = following(own, [needed[made] for made in found[name]])
        layers = sorted(int(m[1]) for made in found[name] if (m := re.fullmatch(r"[^_]+_(\d{1,4})", made)))
        if hasattr(own, "layers") and (layers or name in found[name]):
            changed[name] = replace(changed[name], layers=layers)
    faces = following(settings.faces, list(needed.values()))
    return replace(settings, features=list(found), faces=faces, **changed)


def following(settings: Settings, made: Sequence[Mapping[str, Any]]) -> Settings:
    """Settings with those values that change the numbers as they were ``made``, a stranger's word perhaps."""
    for key in ("window", "of", "pooling", "tokens", "fps", "margin"):
        for value in (m[key] for m in made if key in m and hasattr(settings, key)):
            kind = type(getattr(settings, key))
            if isinstance(value, str if kind is str else int | float):
                settings = replace(settings, **{key: kind(value)})
    return settings
