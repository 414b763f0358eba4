"""Tiny media files, written where they are needed."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.stream import Disposition
from numpy.typing import NDArray

from mer_lightning.extract.media import SAMPLE_RATE, Speech, Unreadable, duration, read_frames, read_speech

CLIPS = Path(__file__).parents[3] / "shared" / "clips"
needs_clips = pytest.mark.skipif(not CLIPS.is_dir(), reason="the sample clips are not on this machine")

PIXELS = {"ffv1": "bgr0", "png": "rgb24", "mjpeg": "yuvj420p"}  # the first two lose nothing; others: yuv420p


def tone(seconds: float, rate: int = 44_100, channels: int = 1, hertz: float = 440.0) -> NDArray[np.float32]:
    """A sine of amplitude 0.5, (channels, n)."""
    wave = 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)
    return np.tile(wave.astype(np.float32), (channels, 1))


def colours(n: int, height: int = 48, width: int = 64) -> list[NDArray[np.uint8]]:
    """n frames (H, W, 3), each of another colour: red tells which."""
    return [np.full((height, width, 3), (i, 255 - i, 7), np.uint8) for i in range(n)]


def red(frames: Iterable[NDArray[np.uint8]]) -> list[int]:
    """Which of ``colours`` each frame is."""
    return [int(frame[..., 0].mean().round()) for frame in frames]


def write_clip(
    path: Path,
    sound: NDArray[np.float32] | None = None,
    frames: list[NDArray[np.uint8]] | None = None,
    *,
    rate: int = 44_100,
    sound_codec: str = "pcm_s16le",
    fps: int = 25,
    codec: str = "ffv1",
    times: list[float] | None = None,
    picture: NDArray[np.uint8] | None = None,
    **options: str,
) -> Path:
    """A clip of a sound (channels, n) and frames (H, W, 3), at the given times in seconds if there are any.

    picture: attached as a cover is. options: the muxer's.
    """
    with av.open(str(path), "w", options=options) as container:
        packets = []
        if sound is not None:
            packets += _audio(container, sound, sound_codec, rate)
        if frames is not None:
            packets += _video(container, frames, codec, fps, times)
        if picture is not None:
            cover = _video(container, [picture], "png", 25, None)
            cover[0].stream.disposition = Disposition.attached_pic
            packets += cover
        for packet in sorted(packets, key=lambda p: float(p.dts * p.time_base)):
            container.mux(packet)
    return path


def _video(
    container: Any, frames: list[NDArray[np.uint8]], codec: str, fps: int, times: list[float] | None
) -> list[Any]:
    stream = container.add_stream(codec, rate=fps)
    stream.height, stream.width = frames[0].shape[:2]
    stream.pix_fmt = PIXELS.get(codec, "yuv420p")
    stream.codec_context.time_base = Fraction(1, 1000) if times else Fraction(1, fps)
    packets = []
    for i, array in enumerate(frames):
        frame = av.VideoFrame.from_ndarray(array, format="rgb24")
        frame.pts, frame.time_base = (round(times[i] * 1000) if times else i), stream.codec_context.time_base
        packets += stream.encode(frame)
    return packets + stream.encode(None)


def _audio(container: Any, sound: NDArray[np.float32], codec: str, rate: int) -> list[Any]:
    layout = {1: "mono", 2: "stereo", 6: "5.1"}[len(sound)]
    stream = container.add_stream(codec, rate=rate, layout=layout)
    stream.codec_context.open()
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound), format="fltp", layout=layout)
    frame.sample_rate, frame.pts = rate, 0
    size = stream.codec_context.frame_size or 1024
    resampler = av.AudioResampler(stream.format, layout, rate, size)
    parts = [part for given in (frame, None) for part in resampler.resample(given) if part is not None]
    return [packet for part in [*parts, None] for packet in stream.encode(part)]


def turn(path: Path, degrees: int) -> Path:
    """Note in an MP4 that its picture must be turned clockwise to stand upright, as phones do."""
    cos, sin = {90: (0, 1), 180: (-1, 0), 270: (0, -1)}[degrees]
    matrix = np.array([cos, sin, 0, -sin, cos, 0, 0, 0, 1 << 14]) * (1 << 16)
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40  # version 0: the matrix comes after 40 bytes
    data[at : at + 36] = matrix.astype(">i4").tobytes()
    path.write_bytes(data)
    return path


def heard(path: Path) -> Speech:
    speech = read_speech(path)
    assert speech is not None
    assert speech.samples.dtype == np.float32
    return speech


def pitch(samples: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(spectrum.argmax() * SAMPLE_RATE / len(samples))


def loudness(samples: np.ndarray) -> float:
    """Root mean square, without the ends, where codecs fade in and out."""
    return float(np.sqrt(np.mean(np.square(samples[1600:-1600]))))


def reason(path: Path) -> str:
    with pytest.raises(Unreadable) as caught:
        read_speech(path)
    with pytest.raises(Unreadable) as again:
        list(read_frames(path, 5))
    assert str(caught.value) == str(again.value)
    assert "\n" not in str(caught.value)
    assert duration(path) is None
    return str(caught.value)
