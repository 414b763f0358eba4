import socket
import sys
import weakref
from pathlib import Path

import av
import numpy as np
import pytest
from scipy.io import wavfile
from scipy.signal import resample_poly

from mer_lightning.errors import UserError
from mer_lightning.extract import media
from mer_lightning.extract.media import (
    FORMATS,
    SAMPLE_RATE,
    Speech,
    Unreadable,
    duration,
    read_frames,
    read_speech,
)
from tests.extract.clips import CLIPS, colours, needs_clips, red, tone, turn, write_clip


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
    times = [10, 10.01, 10.02, 10.5, 11, 13, 13.1, 13.5]
    path = write_clip(tmp_path / "x.mkv", frames=colours(8), times=times)
    assert red(read_frames(path, 2)) == [0, 3, 4, 5, 7]


def test_all_frames_of_30_a_second_in_a_millisecond_clock(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "x.mkv", frames=colours(60), fps=30)
    assert red(read_frames(path, 30)) == list(range(60))


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


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty file"),
        (b"not a video\n", "not a media file"),
        (b"a text that goes on and on. " * 1000, "not a media file"),
        (bytes(5000), "not a media file"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", "broken: no usable index (moov)"),
    ],
)
@pytest.mark.parametrize("suffix", [".mp4", ".wav", ".mkv", ""])
def test_says_why_a_file_is_not_read(tmp_path: Path, content: bytes, says: str, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    path.write_bytes(content)
    assert reason(path).startswith(says)


def test_says_that_there_is_no_file(tmp_path: Path) -> None:
    assert reason(tmp_path / "none.mp4") == "cannot be opened: No such file or directory"
    assert reason(tmp_path) == "cannot be opened: Is a directory"


def test_subtitles_alone_are_no_clip(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "x.mkv"), "w") as container:
        stream = container.add_mux_stream("subrip")
        packet = av.Packet(b"words")
        packet.stream, packet.pts, packet.dts, packet.duration = stream, 0, 0, 9
        container.mux(packet)
    assert reason(tmp_path / "x.mkv") == "no audio or video stream"


@pytest.mark.parametrize(
    ("codec", "says"), [("libx264", "frames of 64 x 48 pixels"), ("mpeg4", "broken, or its frames have more")]
)
def test_frames_of_absurd_size_are_not_decoded(
    tmp_path: Path, codec: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_clip(tmp_path / "x.mp4", frames=colours(9), codec=codec)
    assert len(list(read_frames(path, 25))) == 9
    monkeypatch.setattr(media, "MAX_PIXELS", 3_000)
    monkeypatch.setitem(media.OPTIONS, "max_pixels", "3000")
    with pytest.raises(Unreadable, match=says):
        list(read_frames(path, 5))


def test_a_codec_that_nobody_knows_is_unreadable(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "x.mov", tone(1), colours(2), codec="png")
    path.write_bytes(path.read_bytes().replace(b"png ", b"zzzz").replace(b"sowt", b"zzzz"))
    with pytest.raises(Unreadable, match="its video is of a kind"):
        list(read_frames(path, 5))
    with pytest.raises(Unreadable, match="its audio is of a kind"):
        read_speech(path)


def test_says_which_package_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "x.wav").write_bytes(b"x")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UserError, match="pip install av"):
        read_speech(tmp_path / "x.wav")


def test_endless_speech_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media, "LONGEST", 10_000)
    samples, complete = heard(write_clip(tmp_path / "x.wav", tone(5)))
    assert not complete
    assert 10_000 <= len(samples) < 12_000


NAMES = [
    "ein Lächeln 快乐.wav",
    "concat:a.wav|b.wav",
    "http:x.wav",
    "file:x.wav",
    "pipe:0",
    "-i.wav",
    "%03d.wav",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_only_a_name(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_clip(Path("x.wav"), tone(1)).rename(name)
    assert pitch(heard(Path(name)).samples) == pytest.approx(440, abs=1)


@pytest.mark.parametrize("suffix", [".mp4", ".m3u8", ".ffconcat", ".sdp", ".mpd", ".wav", ""])
@pytest.mark.parametrize("kind", ["hls", "hls far", "concat", "dash", "sdp"])
def test_files_that_name_others_are_refused(tmp_path: Path, kind: str, suffix: str) -> None:
    other = write_clip(tmp_path / "other.wav", tone(1))
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        text = {
            "hls": f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{other}\n#EXT-X-ENDLIST\n",
            "hls far": f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nhttp://{address}/x.ts\n#EXT-X-ENDLIST\n",
            "concat": "ffconcat version 1.0\nfile 'other.wav'\n",
            "dash": "<?xml version='1.0'?><MPD xmlns='urn:mpeg:dash:schema:mpd:2011' type='static' "
            "mediaPresentationDuration='PT1S'><Period><AdaptationSet><Representation id='0' bandwidth='9'>"
            f"<BaseURL>http://{address}/x.mp4</BaseURL></Representation></AdaptationSet></Period></MPD>",
            "sdp": f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
            f"m=audio {server.getsockname()[1]} RTP/AVP 0\n",
        }[kind]
        (tmp_path / f"list{suffix}").write_text(text)
        assert reason(tmp_path / f"list{suffix}").startswith("not a media file")
        server.settimeout(0)
        with pytest.raises(BlockingIOError):
            server.accept()


def test_pictures_are_refused(tmp_path: Path) -> None:
    write_clip(tmp_path / "x.png", frames=colours(1), codec="png")
    assert reason(tmp_path / "x.png").startswith("not a media file")
    (tmp_path / "x.png").rename(tmp_path / "x.mp4")
    assert reason(tmp_path / "x.mp4").startswith("not a media file")


def test_every_format_is_known_to_ffmpeg() -> None:
    known = {name for names in av.formats_available for name in names.split(",")}
    assert set(FORMATS.split()) <= known


def test_tags_in_any_encoding(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "x.mp3", tone(1), sound_codec="libmp3lame", write_xing="0")
    tag = b"TIT2\0\0\0\x05\0\0\x03\xe9\xe8\xff\xfe"
    path.write_bytes(b"ID3\x04\0\0\0\0\0" + bytes([len(tag)]) + tag + path.read_bytes())
    assert pitch(heard(path).samples) == pytest.approx(440, abs=1)


def test_nothing_is_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    av.logging.set_level(av.logging.DEBUG)
    path = holed(
        write_clip(tmp_path / "x.mp4", tone(4, channels=2), colours(99), sound_codec="aac", codec="mpeg4")
    )
    av.logging.set_level(av.logging.DEBUG)
    capfd.readouterr()
    read_speech(path)
    with pytest.raises(Unreadable):
        list(read_frames(path, 5))
    assert capfd.readouterr() == ("", "")


def test_duration(tmp_path: Path) -> None:
    assert duration(write_clip(tmp_path / "x.mp4", tone(2, channels=2), sound_codec="aac")) == pytest.approx(
        2, abs=0.05
    )


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
@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("truncated.mp4", "broken: no usable index (moov)"),
        ("not_a_video.mp4", "not a media file"),
        ("empty.mp4", "empty file"),
    ],
)
def test_the_broken_sample_clips_are_unreadable(name: str, says: str) -> None:
    assert reason(CLIPS / name).startswith(says)


@needs_clips
@pytest.mark.filterwarnings("ignore::scipy.io.wavfile.WavFileWarning")  # a chunk that it does not know
def test_the_sample_speech_is_what_scipy_reads() -> None:
    rate, samples = wavfile.read(CLIPS / "speech_48k.wav")
    expected = resample_poly(samples / 32768, 1, rate // SAMPLE_RATE)
    found = heard(CLIPS / "speech_48k.wav").samples
    n = min(len(found), len(expected))
    assert n > 58_000
    assert np.corrcoef(found[:n], expected[:n])[0, 1] > 0.999
