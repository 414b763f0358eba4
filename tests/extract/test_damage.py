from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from mer_lightning.extract import media
from mer_lightning.extract.media import SAMPLE_RATE, Unreadable, read_frames, read_speech
from tests.extract.clips import colours, heard, tone, write_clip


def cut(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def holed(path: Path) -> Path:
    data = path.read_bytes()
    half, tenth = len(data) // 2, len(data) // 10
    path.write_bytes(data[:half] + bytes(tenth) + data[half + tenth :])
    return path


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("x.mp4", "aac", {"movflags": "faststart"}),
        ("x.mkv", "aac", {}),
        ("x.flv", "libmp3lame", {}),
        ("x.avi", "libmp3lame", {}),
    ],
)
def test_a_clip_that_breaks_off_gives_its_beginning(
    tmp_path: Path, name: str, codec: str, options: dict[str, str]
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (100, 48, 64, 3), np.uint8)
    path = write_clip(
        tmp_path / name,
        tone(4),
        list(noise),
        sound_codec=codec,
        codec="flv" if name.endswith("flv") else "mpeg4",
        **options,
    )
    assert heard(path).complete
    assert len(list(read_frames(path, 25))) == 100
    samples, complete = heard(cut(path))
    assert 1 < len(samples) / SAMPLE_RATE < 3
    assert complete == (name == "x.avi")  # whose header is mended from the size of the file
    frames = read_frames(path, 25)
    assert len([next(frames) for _ in range(30)]) == 30
    with pytest.raises(Unreadable, match="broken"):
        list(frames)


@pytest.mark.parametrize(("name", "codec"), [("x.mp3", "libmp3lame"), ("x.mp4", "aac")])
def test_what_comes_after_the_damage_is_heard(tmp_path: Path, name: str, codec: str) -> None:
    path = holed(write_clip(tmp_path / name, tone(4, channels=2), sound_codec=codec))
    samples, complete = heard(path)
    assert not complete
    assert 3.2 < len(samples) / SAMPLE_RATE < 3.9


def test_nothing_decodable_is_unreadable(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "x.mp4", tone(1), colours(9), sound_codec="aac", codec="mpeg4")
    data = path.read_bytes()
    start, end = data.index(b"mdat") + 4, data.index(b"moov") - 4
    path.write_bytes(data[:start] + b"\xff" * (end - start) + data[end:])
    with pytest.raises(Unreadable, match="broken: its audio"):
        read_speech(path)
    with pytest.raises(Unreadable, match="broken"):
        list(read_frames(path, 5))


def test_streaming_headers_are_no_damage(tmp_path: Path) -> None:
    data = bytearray(write_clip(tmp_path / "x.wav", tone(1, SAMPLE_RATE)).read_bytes())
    at = data.index(b"data") + 4
    data[4:8] = data[at : at + 4] = b"\xff" * 4  # as written to a pipe
    (tmp_path / "x.wav").write_bytes(data)
    assert heard(tmp_path / "x.wav").complete
    path = write_clip(tmp_path / "x.mp4", tone(1), sound_codec="aac", movflags="frag_keyframe+empty_moov")
    assert heard(path).complete


def test_endless_speech_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media, "LONGEST", 10_000)
    samples, complete = heard(write_clip(tmp_path / "x.wav", tone(5)))
    assert not complete
    assert 10_000 <= len(samples) < 12_000


@pytest.mark.parametrize("loud", [av.logging.restore_default_callback, lambda: av.logging.set_level(48)])
def test_nothing_is_printed(
    tmp_path: Path,
    loud: Callable[[], None],
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = write_clip(tmp_path / "x.mp4", tone(4), colours(99), sound_codec="aac", codec="mpeg4")
    holed(path)
    loud()
    capfd.readouterr()
    read_speech(path)
    with pytest.raises(Unreadable):
        list(read_frames(path, 5))
    assert capfd.readouterr() == ("", "")
    assert not caplog.records
