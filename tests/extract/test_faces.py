from collections.abc import Iterable
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from mer_lightning.config.extract import FacesConfig
from mer_lightning.extract import faces
from mer_lightning.extract.detectors import Box, FaceDetector, make_detector
from mer_lightning.extract.faces import Faces, Follower, Track, crop, match, overlap, read_faces
from mer_lightning.extract.media import Frame, Unreadable, read_frames
from tests.extract.clips import CLIPS, colours, needs_clips, red, tone, write_clip

SETTINGS = FacesConfig(fps=5.0, detector="hog", margin=0.2)


def box(left: float, top: float, side: float) -> Box:
    return Box(left, top, side, side, 1.0)


def chosen(looks: Iterable[list[Box]]) -> Track | None:
    """The track chosen of these boxes, in frames that tell their number by their red."""
    follower = Follower(0.0)
    for i, boxes in enumerate(looks):
        follower.look(np.full((100, 200, 3), i % 256, np.uint8), boxes)
    return follower.chosen()


def seen(looks: Iterable[list[Box]]) -> list[int]:
    """In which frames the chosen face was seen."""
    track = chosen(looks)
    return [] if track is None else red(track.crops)


def test_overlap() -> None:
    assert overlap(box(0, 0, 10), box(0, 0, 10)) == 1
    assert overlap(box(0, 0, 10), box(5, 0, 10)) == pytest.approx(50 / 150)
    assert overlap(box(0, 0, 10), box(5, 5, 5)) == pytest.approx(0.25)
    assert overlap(box(0, 0, 10), box(10, 0, 10)) == 0
    assert overlap(box(0, 0, 10), box(50, 50, 10)) == 0


def test_each_box_goes_on_once_as_its_best_match() -> None:
    old = [box(0, 0, 10), box(4, 0, 10), box(90, 0, 10)]
    assert match(old, [box(4, 0, 10), box(1, 0, 10), box(50, 0, 10)]) == {0: 1, 1: 0}
    assert match(old, [box(3, 0, 10)]) == {1: 0}
    assert match([], old) == match(old, []) == {}


def test_a_face_that_moves_is_one_face() -> None:
    assert seen([box(10 * i, i, 30)] for i in range(12)) == list(range(12))


def test_a_small_bystander_is_not_chosen() -> None:
    looks = [[box(150, 50, 20), box(10 + i, 10, 40)] for i in range(10)]
    assert chosen(looks).box.width == 40  # type: ignore[union-attr]


def test_a_large_face_that_flashes_up_is_not_chosen() -> None:
    looks = [[box(10, 10, 40)] for _ in range(10)]
    looks[5].append(box(100, 0, 90))
    assert seen(looks) == list(range(10))


def test_a_large_face_is_chosen_over_a_lasting_small_one() -> None:
    looks = [[box(10, 10, 20)] + [box(100, 0, 80)] * (i >= 6) for i in range(10)]
    assert seen(looks) == [6, 7, 8, 9]


def test_a_face_that_is_missed_for_a_while_goes_on() -> None:
    assert seen([[box(10, 10, 40)] if i in (0, 1, 9, 10) else [] for i in range(11)]) == [0, 1, 9, 10]


def test_a_face_that_comes_back_much_later_is_another() -> None:
    looks = [[box(10, 10, 40)] if i < 3 or i > 20 else [] for i in range(23)]
    assert seen(looks) == [0, 1, 2]  # the longer one, though long gone


def test_without_boxes_nothing_is_chosen() -> None:
    assert chosen([]) is None
    assert chosen([[], []]) is None


def test_a_long_clip_is_thinned_out_evenly() -> None:
    track = chosen([box(10, 10, 40)] for _ in range(1000))
    assert track is not None
    assert track.seen == 1000
    assert faces.MOST_CROPS / 2 <= len(track.crops) <= faces.MOST_CROPS
    assert red(track.crops) == [i % 256 for i in range(0, 1000, 8)]


def test_only_the_largest_of_a_crowd_are_followed() -> None:
    follower = Follower(0.0)
    follower.look(np.zeros((100, 200, 3), np.uint8), [box(15 * i, 0, 5 + i) for i in range(13)])
    assert sorted(track.box.width for track in follower._tracks) == list(range(10, 18))


def test_several_faces_in_one_frame_are_told() -> None:
    follower = Follower(0.0)
    for boxes in ([box(0, 0, 40)], [box(0, 0, 40), box(100, 0, 20)], [box(100, 0, 20)]):
        follower.look(np.zeros((100, 200, 3), np.uint8), boxes)
    assert follower.most == 2


def test_memory_is_bounded_however_many_faces_pass() -> None:
    follower = Follower(0.0)
    for i in range(300):
        crowd = [box(x, 20 * (i % 5), 10 + x / 50) for x in range(0, 200, 15)]
        follower.look(np.zeros((100, 200, 3), np.uint8), crowd)
    kept = [*follower._tracks, follower.chosen()]
    assert len(kept) <= faces.MOST_BOXES * (faces.PATIENCE + 1) + 1


def gradient(height: int, width: int) -> Frame:
    """Red grows by one a column, green by one a row."""
    frame = np.zeros((height, width, 3), np.uint8)
    frame[..., 0] = np.arange(width)
    frame[..., 1] = np.arange(height)[:, None]
    return frame


def test_a_crop_is_the_square_with_its_margin() -> None:
    part = crop(gradient(250, 250), Box(60, 70, 40, 80, 1.0), 0.2)  # 112 pixels about (80, 110), doubled
    assert part.shape == (224, 224, 3)
    assert part.dtype == np.uint8
    assert (int(part[112, 0, 0]), int(part[112, -1, 0])) == (24, 135)
    assert (int(part[0, 112, 1]), int(part[-1, 112, 1])) == (54, 165)


def test_a_crop_of_its_own_size_is_exact() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)
    np.testing.assert_array_equal(crop(frame, box(10, 20, 224), 0), frame[20:244, 10:234])


def test_beyond_the_frame_its_edge_is_repeated() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (200, 150, 3), np.uint8)
    part = crop(frame, box(-50, -20, 224), 0)
    expected = np.pad(frame, ((20, 4), (50, 24), (0, 0)), mode="edge")
    np.testing.assert_array_equal(part, expected)
    assert (crop(frame, box(500, 500, 10), 0.2) == frame[-1, -1]).all()  # wholly outside: the corner


def test_shrinking_averages() -> None:
    board = np.indices((896, 896)).sum(0) % 2 * 255
    frame = np.repeat(board[..., None], 3, 2).astype(np.uint8)
    assert np.abs(crop(frame, box(0, 0, 896), 0).astype(int) - 127).max() <= 2


class Marked:
    """Finds the squares of bright blue."""

    def __call__(self, frame: Frame) -> list[Box]:
        rows, columns = np.nonzero(frame[..., 2] > 200)
        return [box(columns.min(), rows.min(), np.ptp(columns) + 1)] if len(rows) else []


def marked(n: int) -> list[Frame]:
    """n frames, whose number is their red, with a marked face in all but the first five."""
    frames = colours(n)
    for frame in frames[5:]:
        frame[10:30, 20:40, 2] = 255
    return frames


def test_reads_the_face_of_a_clip(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "x.mkv", tone(1), marked(25))
    crops, frames_seen, faces_found, complete, most = read_faces(
        read_frames(path, SETTINGS.fps), SETTINGS.margin, Marked()
    )
    assert (frames_seen, faces_found, complete, most) == (5, 4, True, 1)
    assert red(crops) == [5, 10, 15, 20]
    assert crops.shape == (4, 224, 224, 3)
    assert crops[..., 40:-40, 40:-40, 2].min() == 255  # 20 of 28 pixels, without their soft edge
    assert crops[:, 0, 0, 2].max() < 50


def test_no_face_and_no_video_give_no_crops(tmp_path: Path) -> None:
    bare = read_faces(read_frames(write_clip(tmp_path / "x.mkv", frames=colours(10)), 5), 0.2, Marked())
    deaf = read_faces(read_frames(write_clip(tmp_path / "x.wav", tone(1)), 5), 0.2, Marked())
    assert bare.crops.shape == deaf.crops.shape == (0, 224, 224, 3)
    assert bare[1:] == (2, 0, True, 0)
    assert deaf[1:] == (0, 0, True, 0)


def test_a_clip_that_breaks_off_gives_the_faces_before(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "x.mkv", frames=marked(100))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    found = read_faces(read_frames(path, SETTINGS.fps), SETTINGS.margin, Marked())
    assert not found.complete
    assert 4 <= len(found.crops) == found.faces_found == found.frames_seen - 1 <= 14
    path.write_bytes(b"words")
    with pytest.raises(Unreadable):
        read_faces(read_frames(path, SETTINGS.fps), SETTINGS.margin, Marked())


FOUND = {  # clip -> frames looked at
    "angry_01.mp4": 16,
    "happy_02.mp4": 16,
    "sad_01.mp4": 16,
    "surprise_02.mp4": 16,
    "no_audio.mp4": 10,
    "short_2s_mp3.mp4": 12,
}


@cache
def hog() -> FaceDetector:
    return make_detector("hog")


def faces_of(name: str, fps: float) -> Faces:
    settings = FacesConfig(fps=fps, detector="hog", margin=0.2)
    return read_faces(read_frames(CLIPS / name, settings.fps), settings.margin, hog())


@needs_clips
@pytest.mark.parametrize("name", FOUND)
def test_the_faces_of_the_sample_clips(name: str) -> None:
    found = faces_of(name, 1)  # at 5 they are found in every frame too; it takes a while
    assert found.complete
    assert found.frames_seen == found.faces_found == len(found.crops) == -(-FOUND[name] // 5)
    skin = found.crops[:, 75:150, 75:150].astype(int)  # cheeks and nose
    assert (skin[..., 0].mean((1, 2)) > skin[..., 2].mean((1, 2)) + 10).all()


@needs_clips
def test_the_sample_clips_without_a_face() -> None:
    assert faces_of("no_face.mp4", 1)[1:] == (4, 0, True, 0)
    for name in ("audio_only.m4a", "speech_48k.wav"):
        assert faces_of(name, 5)[1:] == (0, 0, True, 0)
    for name in ("truncated.mp4", "not_a_video.mp4", "empty.mp4"):
        with pytest.raises(Unreadable):
            faces_of(name, 5)
