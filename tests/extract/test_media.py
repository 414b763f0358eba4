import weakref
from pathlib import Path

import av
import numpy as np
import pytest
from scipy.io import wavfile
from scipy.signal import resample_poly

from mer_lightning.extract.media import SAMPLE_RATE, duration, read_frames, read_speech
from tests.extract.clips import (
    CLIPS,
    colours,
    heard,
    loudness,
    needs_clips,
    pitch,
    red,
    tone,
    turn,
    write_clip,
)


@pytest.mark.parametrize(
    ("name", "codec", "rate", "channels"),
    [
        ("x.wav", "pcm_u8", 8_000, 1),
        ("x.wav", "pcm_mulaw", 8_000, 1),
        ("x.wav", "pcm_s24le", 96_000, 2),
        ("x.wav", "pcm_f64le", 44_100, 2),
        ("x.mp3", "libmp3lame", 44_100, 2),
        ("x.flac", "flac", 48_000, 1),
        ("x.opus", "libopus", 48_000, 2),
        ("x.m4a", "aac", 44_100, 2),
        ("x.mkv", "ac3", 48_000, 6),
        ("x.avi", "mp2", 22_050, 1),
    ],
)
def test_hears_the_same_in_any_codec(tmp_path: Path, name: str, codec: str, rate: int, channels: int) -> None:
    path = write_clip(tmp_path / name, tone(1.5, rate, channels, 500), rate=rate, sound_codec=codec)
    samples, complete = heard(path)
    assert complete
    assert len(samples) / SAMPLE_RATE == pytest.approx(1.5, abs=0.07)  # codecs pad to whole frames
    assert pitch(samples) == pytest.approx(500, abs=1)
    if channels < 6:  # one tone in all six is more than one of them
        assert loudness(samples) == pytest.approx(0.5 / 2**0.5, rel=0.08)
    assert np.abs(samples).max() <= 1


@pytest.mark.parametrize("codec", ["pcm_s16le", "pcm_f32le"])
def test_channels_are_averaged_whatever_the_sample_format(tmp_path: Path, codec: str) -> None:
    left = tone(1, channels=2) * [[1], [0]]
    samples = heard(write_clip(tmp_path / "x.wav", left.astype(np.float32), sound_codec=codec)).samples
    assert loudness(samples) == pytest.approx(0.25 / 2**0.5, rel=0.01)


def test_speech_at_16_khz_is_left_as_it_is(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(-(2**15), 2**15, 5_000).astype(np.int16)
    wavfile.write(tmp_path / "x.wav", SAMPLE_RATE, noise)
    np.testing.assert_array_equal(heard(tmp_path / "x.wav").samples, noise / np.float32(32768))


def test_resampling_agrees_with_scipy(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    slow = resample_poly(rng.normal(0, 0.1, 4_000), 12, 1)  # 48 kHz, nothing above 2 kHz
    wavfile.write(tmp_path / "x.wav", 48_000, slow.astype(np.float32))
    samples = heard(tmp_path / "x.wav").samples
    expected = resample_poly(slow, 1, 3)
    assert len(samples) == len(expected)
    np.testing.assert_allclose(samples[100:-100], expected[100:-100], atol=2e-3)


def test_no_sound_no_speech_and_no_video_no_frames(tmp_path: Path) -> None:
    assert read_speech(write_clip(tmp_path / "seen.mkv", frames=colours(3))) is None
    assert list(read_frames(write_clip(tmp_path / "heard.wav", tone(0.1)), 5)) == []
    wavfile.write(tmp_path / "empty.wav", 16_000, np.zeros(0, np.int16))
    assert read_speech(tmp_path / "empty.wav") is None


@pytest.mark.parametrize(("name", "codec"), [("x.mp3", "libmp3lame"), ("x.flac", "flac")])
def test_a_cover_is_no_video(tmp_path: Path, name: str, codec: str) -> None:
    path = write_clip(tmp_path / name, tone(1), sound_codec=codec, picture=colours(1)[0])
    with av.open(str(path)) as container:
        assert len(container.streams.video) == 1
    assert list(read_frames(path, 5)) == []
    assert len(heard(path).samples) == pytest.approx(SAMPLE_RATE, abs=1_000)


@pytest.mark.parametrize(
    ("fps", "expected"),
    [(5, [0, 5, 10, 15, 20]), (1, [0]), (12.5, list(range(0, 25, 2))), (25, range(25)), (1000, range(25))],
)
def test_looks_at_about_so_many_frames_a_second(tmp_path: Path, fps: float, expected: list[int]) -> None:
    path = write_clip(tmp_path / "x.mkv", frames=colours(25))
    assert red(read_frames(path, fps)) == list(expected)


def test_counts_by_time_not_by_frames(tmp_path: Path) -> None:
    times = [10.3, 10.31, 10.55, 10.8, 11.3, 13.3, 13.4, 13.8]
    path = write_clip(tmp_path / "x.mkv", frames=colours(8), times=times)
    assert red(read_frames(path, 2)) == [0, 3, 4, 5, 7]


def test_all_frames_of_30_a_second_in_a_millisecond_clock(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "x.mkv", frames=colours(60), fps=30)
    assert red(read_frames(path, 30)) == list(range(60))


def test_frames_that_the_decoder_holds_back_are_seen(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "x.mp4", tone(1), colours(25), sound_codec="aac", codec="libx264")
    assert len(list(read_frames(path, 25))) == 25


def test_frames_are_rgb_of_any_size_one_at_a_time(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (31, 47, 3), np.uint8)
    frames = read_frames(write_clip(tmp_path / "x.mkv", frames=[picture] * 9), 25)
    first = next(frames)
    np.testing.assert_array_equal(first, picture)
    held = weakref.ref(first)
    del first
    next(frames)
    assert held() is None


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_frames_stand_upright(tmp_path: Path, degrees: int) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (16, 32, 3), np.uint8)
    path = turn(write_clip(tmp_path / "x.mp4", frames=[picture] * 2, codec="png"), degrees)
    np.testing.assert_array_equal(next(read_frames(path, 5)), np.rot90(picture, -degrees // 90))


def test_duration(tmp_path: Path) -> None:
    assert duration(write_clip(tmp_path / "x.mp4", tone(2, channels=2), sound_codec="aac")) == pytest.approx(
        2, abs=0.05
    )


@pytest.mark.parametrize(("name", "codec"), [("x.h264", "libx264"), ("x.m4v", "mpeg4"), ("x.mjpeg", "mjpeg")])
def test_duration_of_a_clip_that_states_none(tmp_path: Path, name: str, codec: str) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    path = write_clip(tmp_path / name, frames=[picture] * 75, codec=codec, fps=25)
    assert duration(path) == pytest.approx(3, abs=0.1)


SPOKEN = {  # file -> seconds heard, frames at 5 a second
    "angry_01.mp4": (3.2, 16),
    "happy_02.mp4": (3.2, 16),
    "sad_01.mp4": (3.2, 16),
    "surprise_02.mp4": (3.2, 16),
    "no_face.mp4": (3.2, 16),
    "short_2s_mp3.mp4": (2.42, 12),
    "no_audio.mp4": (None, 10),
    "audio_only.m4a": (3.3, 0),
    "speech_48k.wav": (3.637, 0),
}


@needs_clips
@pytest.mark.parametrize("name", SPOKEN)
def test_the_sample_clips_are_read(name: str) -> None:
    seconds, frames = SPOKEN[name]
    speech = read_speech(CLIPS / name)
    assert (speech is None) == (seconds is None)
    if speech is not None:
        assert speech.complete
        assert len(speech.samples) / SAMPLE_RATE == pytest.approx(seconds, abs=0.02)
        assert loudness(speech.samples) > 1e-4
    assert len(list(read_frames(CLIPS / name, 5))) == frames


@needs_clips
@pytest.mark.filterwarnings("ignore::scipy.io.wavfile.WavFileWarning")  # a chunk that it does not know
def test_the_sample_speech_is_what_scipy_reads() -> None:
    rate, samples = wavfile.read(CLIPS / "speech_48k.wav")
    expected = resample_poly(samples / 32768, 1, rate // SAMPLE_RATE)
    found = heard(CLIPS / "speech_48k.wav").samples
    n = min(len(found), len(expected))
    assert n > 58_000
    assert np.corrcoef(found[:n], expected[:n])[0, 1] > 0.999
