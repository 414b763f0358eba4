import socket
import sys
from pathlib import Path

import av
import pytest

from mer_lightning.errors import UserError
from mer_lightning.extract import media
from mer_lightning.extract.media import (
    FORMATS,
    Unreadable,
    read_frames,
    read_speech,
)
from tests.extract.clips import (
    CLIPS,
    colours,
    heard,
    needs_clips,
    pitch,
    reason,
    tone,
    write_clip,
)


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
    with pytest.raises(UserError, match=r"needs av: pip install .mer-lightning\[extract\]"):
        read_speech(tmp_path / "x.wav")


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
