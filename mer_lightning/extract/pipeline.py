"""Clips in, features out: decoded in threads a batch ahead, encoded together, one outcome per clip."""

import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from mer_lightning.config.extract import ExtractConfig
from mer_lightning.errors import UserError
from mer_lightning.extract.asr import Transcriber, make_transcriber
from mer_lightning.extract.clips import Clip, all_clips
from mer_lightning.extract.corrupt import Corruption, make_corruption
from mer_lightning.extract.decoder import MISSING, Decoded, Decoder
from mer_lightning.extract.detectors import detector_name
from mer_lightning.extract.encoder import Encoder, Modality
from mer_lightning.extract.media import SAMPLE_RATE
from mer_lightning.extract.parts import Part
from mer_lightning.extract.progress import shown
from mer_lightning.extract.registry import encoders_of, make_encoders
from mer_lightning.extract.transcripts import with_transcripts
from mer_lightning.results.description import check_extractors
from mer_lightning.training.cores import cores

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Settings = TypeVar("Settings", bound="DataclassInstance")


@dataclass(frozen=True)
class Pipeline:
    """Encoders and a decoder for what they need."""

    encoders: Sequence[Encoder]
    settings: ExtractConfig
    transcribe: Transcriber | None = None
    corrupt: Corruption | None = None

    @property
    def sources(self) -> set[Modality]:
        """What the encoders, and what makes transcripts, need of a clip."""
        heard: set[Modality] = {"speech"} if self.transcribe else set()
        return heard | {encoder.source for encoder in self.encoders}

    def decoder(self) -> Decoder:
        """What reads the clips."""
        return Decoder(self.sources, self.settings.faces, self.transcribe, self.corrupt)

    @property
    def provenance(self) -> dict[str, dict[str, Any]]:
        """Feature set -> how it is made, from the file to the numbers."""
        faces = self.settings.faces
        before: dict[Modality, dict[str, Any]] = {
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


def collect(parts: Sequence[Part]) -> dict[str, NDArray[np.float32]]:
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
        clips = with_transcripts(clips, path if path.is_dir() else path.parent, settings, required=False)
    outcomes = list(shown(pipeline.run(clips), len(clips)))
    parts = [part for part in outcomes if not part.failure]
    failures = [(part.id, part.failure) for part in outcomes if part.failure]
    if not parts:
        raise UserError(f"{path}: no clip could be read; the first: {failures[0][0]}: {failures[0][1]}")
    return Extracted([part.id for part in parts], collect(parts), failures)


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
