"""What the encoders need of a clip: its speech, faces, pictures and transcript."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from mer_lightning.config.extract import FacesConfig
from mer_lightning.data.arrays import brief
from mer_lightning.extract.asr import Transcriber
from mer_lightning.extract.clips import Clip
from mer_lightning.extract.corrupt import Corruption
from mer_lightning.extract.detectors import FaceDetector, make_detector
from mer_lightning.extract.encoder import Modality
from mer_lightning.extract.faces import Faces, read_faces, read_pictures
from mer_lightning.extract.media import SAMPLE_RATE, Frame, Unreadable, read_frames, read_speech
from mer_lightning.extract.parts import ClipRecord

# source -> the note of a clip that lacks it
MISSING = {"speech": "no speech", "faces": "no face", "frames": "no picture", "text": "no transcript"}
SEVERAL = "several faces, one of them followed"


@dataclass(frozen=True)
class Decoded:
    """A clip ready for the encoders, or the reason why it is not."""

    id: str
    record: ClipRecord = field(default_factory=ClipRecord)
    inputs: dict[Modality, Any] = field(default_factory=dict)
    failure: str = ""


class Decoder:
    """Reads clips; may be called from several threads."""

    def __init__(
        self,
        sources: set[Modality],
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
        record, inputs = ClipRecord(), dict[Modality, Any]()
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

    def _hear(self, clip: Clip, record: ClipRecord, inputs: dict[Modality, Any]) -> ClipRecord:
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

    def _look(
        self, record: ClipRecord, inputs: dict[Modality, Any], source: Modality, seen: Faces
    ) -> ClipRecord:
        if len(seen.crops):
            inputs[source] = seen.crops
        record = replace(record, frames=seen.frames_seen, faces=record.faces + seen.faces_found)
        record = noted(record, SEVERAL if seen.most > 1 else "")
        return noted(record, "" if seen.complete else "video cut short")

    def _read(self, clip: Clip, record: ClipRecord, inputs: dict[Modality, Any]) -> ClipRecord:
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


def noted(record: ClipRecord, note: str) -> ClipRecord:
    """The record with one more note, unless it is empty or there already."""
    return replace(record, notes=[*record.notes, note]) if note and note not in record.notes else record
