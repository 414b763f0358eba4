"""From clips to outcomes: order, failures, what a clip lacks, and how much is in memory."""

import threading
import wave
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mer_lightning.config.extract import ExtractConfig
from mer_lightning.data.corpus import Utterance
from mer_lightning.errors import UserError
from mer_lightning.extract import pipeline as module
from mer_lightning.extract.clips import Clip, all_clips, find_clips, in_shard
from mer_lightning.extract.decoder import Decoded
from mer_lightning.extract.encoder import Features, Modality
from mer_lightning.extract.parts import ClipRecord, Part, Parts
from mer_lightning.extract.pipeline import Pipeline, collect, judged, pipeline_for
from tests.conftest import composed


class Loudness:
    """Stands in for a speech encoder: two numbers that tell clips apart."""

    source: Modality = "speech"

    def __init__(self, layer: int = 1) -> None:
        self.provenance = {"loud": {"encoder": "loud", "layer": layer}}
        self.seen: list[int] = []  # clips per call

    def encode(self, clips: Sequence[NDArray[Any]]) -> list[Features]:
        self.seen.append(len(clips))
        return [{"loud": np.array([np.abs(c).mean(), len(c)], np.float32)} for c in clips]


class Look:
    """Stands in for an encoder of faces."""

    source: Modality = "faces"
    provenance = {"look": {"encoder": "look"}}  # noqa: RUF012

    def encode(self, clips: Sequence[NDArray[Any]]) -> list[Features]:
        return [{"look": np.full(3, c.mean(), np.float32)} for c in clips]


def settings(**changes: Any) -> ExtractConfig:
    return composed(*(f"extract.{k}={v}" for k, v in changes.items())).extract


def write_wav(path: Path, seconds: float = 0.1, loudness: float = 0.5) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = loudness * np.sin(np.arange(int(16_000 * seconds)) / 10)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    return path


def wavs(folder: Path, count: int) -> Path:
    for i in range(count):
        write_wav(folder / f"clip_{i:02d}.wav", loudness=(i + 1) / (count + 1))
    return folder


def test_one_outcome_per_clip_in_order(tmp_path: Path) -> None:
    clips = all_clips(wavs(tmp_path, 7))
    (tmp_path / "clip_03.wav").write_text("no sound at all")
    encoder = Loudness()
    parts = [part for batch in Pipeline([encoder], settings(clips=3)).run(clips) for part in batch]
    assert [part.id for part in parts] == [f"clip_{i:02d}" for i in range(7)]
    assert [part.id for part in parts if part.failure] == ["clip_03"]
    assert "not a media file" in parts[3].failure
    assert encoder.seen == [3, 2, 1]  # the broken clip is none of them
    loudness = [part.features["loud"][0] for part in parts if not part.failure]
    assert loudness == sorted(loudness)
    assert parts[0].record.seconds == pytest.approx(0.1)


def test_no_more_than_two_batches_are_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = all_clips(wavs(tmp_path, 12))
    lock, decoded, most, taken = threading.Lock(), [0], [0], [0]

    class Counting(module.Decoder):
        def __call__(self, clip: Any) -> Decoded:
            with lock:
                decoded[0] += 1
                most[0] = max(most[0], decoded[0] - taken[0])
            return super().__call__(clip)

    monkeypatch.setattr(module, "Decoder", Counting)
    for batch in Pipeline([Loudness()], settings(clips=2)).run(clips):
        taken[0] += len(batch)
    assert most[0] <= 6  # two batches, and the one whose outcomes are just handed on


@pytest.mark.parametrize(("missing", "failure"), [("zeros", ""), ("exclude", "no face")])
def test_a_clip_without_a_face(missing: str, failure: str) -> None:
    pipeline = Pipeline([Loudness(), Look()], settings(missing=missing))
    heard = np.ones(10, np.float32)
    seen = np.zeros((2, 224, 224, 3), np.uint8)
    blind = Decoded("blind", ClipRecord(notes=["no face"]), {"speech": heard})
    whole = Decoded("whole", ClipRecord(), {"speech": heard, "faces": seen})
    parts = [judged(part, missing) for part in pipeline.encode([blind, whole])]
    assert [part.failure for part in parts] == [failure, ""]
    assert sorted(parts[1].features) == ["look", "loud"]
    arrays = collect([part for part in parts if not part.failure])
    assert arrays["look"].shape == (1 if failure else 2, 3)
    assert np.isnan(arrays["look"][0]).all() == (not failure)
    assert np.isfinite(arrays["loud"]).all()


def test_provenance_says_how_clips_were_read() -> None:
    made = Pipeline([Loudness(), Look()], settings(**{"faces.fps": 2})).provenance
    assert made["loud"] == {"encoder": "loud", "layer": 1, "sample_rate": 16_000}
    assert made["look"]["fps"] == 2


def test_clips_and_their_labels(tmp_path: Path) -> None:
    wavs(tmp_path, 3)
    write_wav(tmp_path / "deeper" / "other.wav")
    write_wav(tmp_path / ".hidden" / "not_this.wav")
    (tmp_path / "transcript.txt").write_text("hello")
    assert [c.id for c in all_clips(tmp_path)] == ["clip_00", "clip_01", "clip_02", "other"]
    (tmp_path / "labels.csv").write_text("utterance_id,emotion,split\nclip_01,sad,test\ngone,happy,train\n")
    found = find_clips(tmp_path)
    assert [(c.id, c.utterance.emotion, c.utterance.split) for c in found.clips] == [
        ("clip_01", "sad", "test")
    ]
    assert (found.without_clip, found.without_label) == (["gone"], ["clip_00", "clip_02", "other"])
    write_wav(tmp_path / "deeper" / "clip_00.wav")
    with pytest.raises(UserError, match="both called 'clip_00'"):
        all_clips(tmp_path)
    with pytest.raises(UserError, match="no audio or video file"):
        all_clips(_empty(tmp_path / "empty"))


def _empty(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_shards_are_a_partition(tmp_path: Path) -> None:
    clips = all_clips(wavs(tmp_path, 20))
    shards = [in_shard(clips, i, 3) for i in range(3)]
    assert sorted(c.id for shard in shards for c in shard) == [c.id for c in clips]
    assert all(shards)


def test_a_damaged_part_is_noticed(tmp_path: Path) -> None:
    clip = Clip(Utterance("x"), write_wav(tmp_path / "x.wav"))
    parts = Parts(tmp_path / "store", [clip])
    parts.begin({"a": {"layer": 1}})
    parts.write(Part("x", ClipRecord(1.5, 3, 2, ["no face"]), {"a": np.arange(3, dtype=np.float32)}))
    kept = parts.read("x")
    assert kept.record == ClipRecord(1.5, 3, 2, ["no face"])
    assert kept.features["a"].tolist() == [0, 1, 2]
    (file,) = parts.path.glob("*.safetensors")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(UserError, match="digest"):
        parts.read("x")
    with pytest.raises(UserError, match="made with layer 1, not 2"):
        parts.begin({"a": {"layer": 2}})


def test_features_that_are_no_numbers_are_a_failure() -> None:
    class Broken(Loudness):
        def encode(self, clips: Sequence[NDArray[Any]]) -> list[Features]:
            return [{"loud": np.array([np.nan, 1], np.float32)} for _ in clips]

    (part,) = Pipeline([Broken()], settings()).encode([Decoded("x", ClipRecord(), {"speech": np.ones(3)})])
    assert part.failure == "loud became NaN or infinite"
    assert not part.features


def test_a_clip_that_upsets_a_library_fails_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def upset(path: Path) -> None:
        raise AttributeError("'NoneType' object has no attribute 'samples'")

    monkeypatch.setattr("mer_lightning.extract.decoder.read_speech", upset)
    ((part,),) = Pipeline([Loudness()], settings()).run(all_clips(wavs(tmp_path, 1)))
    assert part.failure.startswith("cannot be read: 'NoneType'")


def test_sets_that_cannot_be_made_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a model would decide on nothing at all."""
    monkeypatch.setattr(module, "make_encoders", lambda settings: [Loudness()])
    for name in ("hubert_large", "manet_UTT"):
        with pytest.raises(UserError, match=f"needs the feature set {name!r}"):
            pipeline_for({name: {}}, settings())
    with pytest.raises(UserError, match="no encoder here makes"):
        pipeline_for({"audio_l1": {}}, settings())


def test_what_a_model_says_of_its_features_is_followed() -> None:
    needed = {
        "hubert_3": {"window": 7},
        "hubert_12": {},
        "manet": {"fps": 2, "margin": 0.5, "detector": "hog"},
    }
    found = module.as_needed(needed, settings())
    assert (found.hubert.layers, found.hubert.window) == ([3, 12], 7)
    assert (found.faces.fps, found.faces.margin, found.features) == (2, 0.5, ["hubert", "manet"])
