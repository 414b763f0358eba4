"""Decoding clips: their speech at 16 kHz, and frames of their video, of whatever FFmpeg reads.

A clip is opened by us and read through a file object: FFmpeg sees bytes, never a path that it could take for
an address, and may open nothing else. Playlists and the like, which are made of other files, are refused.
"""

import math
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mer_lightning.errors import optional

if TYPE_CHECKING:  # PyAV takes a while to import, and only extraction needs it
    from av.audio.resampler import AudioResampler
    from av.container import InputContainer
    from av.stream import Stream

SAMPLE_RATE = 16_000  # samples per second, what speech encoders expect
LONGEST = 4 * 3600 * SAMPLE_RATE  # samples, 0.9 GB
MAX_PIXELS = 1 << 26  # of a frame, twice 8K: a damaged header must not claim all memory
TICK = 0.001  # seconds: containers round time stamps to milliseconds
EARLY = 0.5  # seconds: a clip that ends so much before the end its header states is cut short

# What holds its own data; FFmpeg's other formats are playlists, lists of images, devices, subtitles, games.
FORMATS = (
    "mov matroska avi flv live_flv mpegts mpeg mpegvideo asf asf_o rm ogg nut mxf gxf dv wtv ivf nsv gif "
    "h264 hevc vvc obu av1 m4v h263 mjpeg yuv4mpegpipe wav w64 aiff au caf voc ircam sox mp3 aac loas "
    "flac ac3 ac4 eac3 dts dtshd truehd mlp ape wv tta tak shn mpc mpc8 dsf iff amr amrnb amrwb oma xwma"
)
HEADED = ("mov", "matroska", "flv")  # whose headers state how long the clip is; elsewhere FFmpeg may guess
OPTIONS = {
    "format_whitelist": FORMATS.replace(" ", ","),
    "protocol_whitelist": "none",
    "max_pixels": str(MAX_PIXELS),
}

Frame = NDArray[np.uint8]  # (H, W, 3) RGB


class Unreadable(Exception):  # noqa: N818 - it is read as the clip's state
    """A clip cannot be read; the message is a short reason for users, one line, without the clip's name."""


class Speech(NamedTuple):
    """What is heard in a clip."""

    samples: NDArray[np.float32]  # (n,), n > 0, 16 kHz mono, -1..1
    complete: bool  # False: the clip is damaged, and some of its speech is lost


def read_speech(path: Path) -> Speech | None:
    """The speech of a clip, all channels mixed down; None if it has none.

    Samples pass through 16 bits, as in the files of ``ffmpeg -ac 1 -ar 16000 x.wav`` that published features
    are made of. It also makes FFmpeg mix channels down to one loudness, whatever the codec.
    A clip that breaks half way gives what could be decoded. Raises Unreadable if that is nothing.
    """
    chunks: list[NDArray[np.int16]] = []
    complete = True
    with _opened(path) as container:
        stream = _stream(container, "audio")
        if stream is None:
            return None
        try:
            _gather(_resampled(_decoded(container, stream)), chunks)
        except Unreadable:
            if not chunks:
                raise
            complete = False
    return Speech(np.concatenate(chunks).astype(np.float32) / np.float32(32768), complete) if chunks else None


def read_frames(path: Path, fps: float) -> Iterator[Frame]:
    """Frames of a clip's video, upright, about ``fps`` of each second, never one twice; none without video.

    One frame is held at a time. Raises Unreadable where the clip is broken: at once if it cannot be opened,
    else after the last frame that could be decoded.
    """
    with _opened(path) as container:
        stream = _stream(container, "video")
        if stream is None:
            return
        shown, start = -1, None
        for index, frame in enumerate(_decoded(container, stream)):
            _check_size(frame)
            time = frame.time if frame.time is not None else index / float(stream.average_rate or 25)
            start = time if start is None else start
            look = math.floor((time - start + TICK) * fps)
            if look != shown:  # not: look > shown; the clock of joined recordings starts again
                shown = look
                yield _upright(frame)


def duration(path: Path) -> float | None:
    """How many seconds a clip lasts, the longer of what its header says and its packets; None if unreadable.

    Nothing is decoded. Packets without a time are counted as frames at the stream's rate.
    """
    try:
        with _opened(path) as container:
            return max((container.duration or 0) / 1_000_000, _packets_end(container))
    except Unreadable:
        return None


def _packets_end(container: "InputContainer") -> float:
    """Seconds from the first packet to the end of the last that can be read."""
    start, end, untimed = math.inf, 0.0, Counter[int]()
    with suppress(Exception):  # damage: decoding will say
        for packet in container.demux():
            if packet.pts is not None:
                start = min(start, float(packet.pts * packet.time_base))
                end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            elif packet.size and packet.stream.type == "video":
                untimed[packet.stream.index] += 1
    counted = [n / float(container.streams[i].average_rate or 25) for i, n in untimed.items()]
    return max([end - start if start < math.inf else 0.0, *counted])


@contextmanager
def _opened(path: Path) -> Iterator["InputContainer"]:
    av = optional("av", "mer-lightning[extract]")
    av.logging.set_level(None)  # what FFmpeg says would land in the progress on the screen
    try:
        if not path.stat().st_size:
            raise Unreadable("empty file")
        file = path.open("rb")
    except OSError as error:
        raise Unreadable(f"cannot be opened: {error.strerror}") from error
    with file:
        try:
            # Tags may be in any encoding, and none is of interest.
            container = av.open(file, "r", options=OPTIONS, metadata_errors="replace")
        except Exception as error:  # PyAV raises FFmpeg's errors, and Python's own for some damage
            raise Unreadable(_why_not_opened(path, error)) from error
        with container:
            if not (_stream(container, "audio") or _stream(container, "video")):
                raise Unreadable("no audio or video stream")
            yield container


def _why_not_opened(path: Path, error: Exception) -> str:
    with path.open("rb") as file:
        kind = file.read(8)[4:]
    if kind == b"ftyp":  # the one broken kind that is common: a download or a recording that was cut
        return "broken: no usable index (moov) in this MP4 or MOV; it was cut short perhaps"
    if isinstance(error, optional("av", "mer-lightning[extract]").ArgumentError):  # it is not among FORMATS
        return "not a media file: playlists and lists of images are not followed"
    return "not a media file"


def _stream(container: "InputContainer", kind: Literal["audio", "video"]) -> "Stream | None":
    """The stream of a kind that players choose; pictures attached to a recording are no video."""
    from av.stream import Disposition

    streams = [s for s in container.streams if s.type == kind]
    streams = [s for s in streams if not s.disposition & Disposition.attached_pic]
    return max(streams, key=lambda s: bool(s.disposition & Disposition.default), default=None)


def _decoded(container: "InputContainer", stream: "Stream") -> Iterator[Any]:
    """All frames of a stream that can be decoded, then Unreadable if that was not all of it."""
    if stream.codec_context is None:
        raise Unreadable(f"its {stream.type} is of a kind that FFmpeg does not decode")
    if stream.type == "video":
        _check_size(stream.codec_context)
    stream.codec_context.options = {"max_pixels": OPTIONS["max_pixels"]}
    damage: Exception | None = None
    damaged, end = False, 0.0
    packets = container.demux()  # of every stream, to see where the clip ends
    while True:
        try:
            packet = next(packets, None)
            if packet is None:
                break
            if packet.pts is not None:
                end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            frames: list[Any] = list(packet.decode()) if packet.stream.index == stream.index else []
        except Exception as error:  # see _opened; the packets after a damaged one may be good again
            damaged, damage = True, error
            continue
        damaged |= any(frame.is_corrupt for frame in frames)
        yield from frames
    stated = _stated_end(container)
    if stated - end > EARLY:
        raise Unreadable(f"broken: it ends after {end:.1f} of {stated:.1f} seconds")
    if damaged:
        raise Unreadable(_why_not_decoded(stream)) from damage


def _why_not_decoded(stream: "Stream") -> str:
    if stream.type == "video" and not getattr(stream.codec_context, "width", 0):  # max_pixels, or no picture
        return f"broken, or its frames have more than {MAX_PIXELS // 10**6} megapixels"
    return f"broken: its {stream.type} cannot be decoded, or not all of it"


def _stated_end(container: "InputContainer") -> float:
    """When the clip ends, in seconds, by its header; 0: it does not say."""
    if not container.format.name.startswith(HEADED) or container.duration is None:
        return 0.0
    return container.duration / 1_000_000  # or later, where the clip does not start at 0


def _resampled(frames: Iterator[Any]) -> Iterator[NDArray[np.int16]]:
    """The sound of audio frames at 16 kHz, mixed down, in chunks (n,)."""
    from av.audio.resampler import AudioResampler

    resampler, taken = None, None
    for frame in frames:
        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        if resampler is None or kind != taken:  # rarely, it changes half way
            yield from _chunks(resampler, None)
            resampler, taken = AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE), kind
        yield from _chunks(resampler, frame)
    yield from _chunks(resampler, None)


def _chunks(resampler: "AudioResampler | None", frame: Any) -> Iterator[NDArray[np.int16]]:
    """What comes out of the resampler for a frame; for None, what it had kept back."""
    resampled = resampler.resample(frame) if resampler is not None else []
    yield from (part.to_ndarray()[0] for part in resampled if part is not None)


def _gather(source: Iterator[NDArray[np.int16]], chunks: list[NDArray[np.int16]]) -> None:
    total = 0
    for chunk in source:
        chunks.append(chunk)
        total += chunk.size
        if total > LONGEST:
            raise Unreadable(f"longer than {LONGEST // SAMPLE_RATE // 3600} hours")


def _check_size(frame: Any) -> None:
    if frame.width * frame.height > MAX_PIXELS:
        raise Unreadable(f"frames of {frame.width} x {frame.height} pixels, more than are read")


def _upright(frame: Any) -> Frame:
    """(H, W, 3): the picture as players show it, which a phone held on end records lying down."""
    rgb: Frame = frame.to_ndarray(format="rgb24")
    return np.rot90(rgb, round(frame.rotation / 90))  # anticlockwise, as the metadata
