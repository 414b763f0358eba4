"""The face of a clip: found in sampled frames, followed through them, cropped."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mer_lightning.extract.detectors import Box, FaceDetector, make_detector
from mer_lightning.extract.media import Frame, Unreadable

__all__ = ["Box", "FaceDetector", "Faces", "Follower", "crop", "make_detector", "read_faces"]

SIZE = 224  # of a crop, in pixels
MOST_CROPS = 128  # kept of one face, 19 MB
MOST_BOXES = 8  # of one frame: the largest
SAME = 0.3  # overlap (IoU) from which two boxes are one face
PATIENCE = 10  # frames looked at for which a face may stay unseen and still be the same


class Faces(NamedTuple):
    """What is seen in a clip of the one face that was chosen."""

    crops: NDArray[np.uint8]  # (F, 224, 224, 3) RGB in order of time; F <= 128, evenly thinned out above
    frames_seen: int  # looked at
    faces_found: int  # in how many of them the face was found
    complete: bool  # False: the clip is damaged, and some of its video is lost
    most: int = 0  # faces in one frame, at most


def read_faces(frames: Iterable[Frame], margin: float, detector: FaceDetector) -> Faces:
    """The face in the frames of a clip; no crops if there is no face or no frame. Raises Unreadable.

    Memory does not grow with the clip: one frame, and a bounded number of crops of each face in sight.
    """
    follower = Follower(margin)
    complete = True
    try:
        for frame in frames:
            follower.look(frame, detector(frame))
    except Unreadable:
        if not follower.looks:
            raise
        complete = False
    track = follower.chosen()
    if track is None:
        return Faces(np.empty((0, SIZE, SIZE, 3), np.uint8), follower.looks, 0, complete)
    return Faces(np.stack(track.crops), follower.looks, track.seen, complete, follower.most)


def read_pictures(frames: Iterable[Frame]) -> Faces:
    """The middle squares of frames, thinned out above 128, as if each were a face. Raises Unreadable."""
    kept: list[Frame] = []
    stride, looks, complete = 1, 0, True
    try:
        for looks, frame in enumerate(frames, 1):
            if (looks - 1) % stride == 0:
                kept.append(middle(frame))
            if len(kept) > MOST_CROPS:
                kept, stride = kept[::2], 2 * stride
    except Unreadable:
        if not looks:
            raise
        complete = False
    return Faces(np.stack(kept) if kept else np.empty((0, SIZE, SIZE, 3), np.uint8), looks, 0, complete)


def middle(frame: Frame) -> Frame:
    """The largest square in the middle of a frame, as (224, 224, 3)."""
    height, width = frame.shape[:2]
    side = min(height, width)
    return crop(frame, Box((width - side) / 2, (height - side) / 2, side, side, 1.0), 0.0)


@dataclass(eq=False)
class Track:
    """One face through the frames of a clip."""

    box: Box  # where it was last
    look: int  # when that was
    area: float = 0.0  # sum over the frames it was seen in
    seen: int = 0  # number of these
    crops: list[Frame] = field(default_factory=list)  # (224, 224, 3), of every stride-th of these
    stride: int = 1

    def add(self, look: int, frame: Frame, box: Box, margin: float) -> None:
        """The face is seen again."""
        if self.seen % self.stride == 0:
            self.crops.append(crop(frame, box, margin))
        if len(self.crops) > MOST_CROPS:
            self.crops = self.crops[::2]
            self.stride *= 2
        self.box, self.look = box, look
        self.area += box.area
        self.seen += 1


class Follower:
    """Follows the faces of a clip frame by frame, and chooses one.

    A box goes on with the track whose last box it overlaps most, each track with one box, or begins a track.
    Chosen is the track with the largest sum of areas: the face that is large and stays, not a passer-by who
    is near for a moment, nor a portrait on the wall. A cut to another face in the same place goes unnoticed.
    """

    def __init__(self, margin: float) -> None:
        self.margin = margin
        self.looks = 0
        self.most = 0
        self._tracks: list[Track] = []  # in sight, or not long gone
        self._gone: Track | None = None  # the largest of the others

    def look(self, frame: Frame, boxes: Sequence[Box]) -> None:
        """Take the next frame (H, W, 3) and the faces found in it."""
        boxes = sorted(boxes, key=lambda box: box.area, reverse=True)[:MOST_BOXES]
        self.most = max(self.most, len(boxes))
        matched = match([track.box for track in self._tracks], boxes)
        new = [Track(box, self.looks) for i, box in enumerate(boxes) if i not in matched.values()]
        pairs = [(self._tracks[t], boxes[b]) for t, b in matched.items()] + [(t, t.box) for t in new]
        for track, box in pairs:
            track.add(self.looks, frame, box, self.margin)
        self._tracks += new
        self.looks += 1
        self._forget()

    def chosen(self) -> Track | None:
        """The face of the frames so far; None: there was none."""
        tracks = self._tracks if self._gone is None else [self._gone, *self._tracks]
        return max(tracks, key=lambda track: track.area, default=None)

    def _forget(self) -> None:
        """Keep of the tracks that are over the largest alone: no other can be chosen any more."""
        over = [track for track in self._tracks if self.looks - track.look > PATIENCE]
        self._tracks = [track for track in self._tracks if track not in over]
        candidates = over if self._gone is None else [self._gone, *over]
        self._gone = max(candidates, key=lambda track: track.area, default=None)


def match(old: Sequence[Box], new: Sequence[Box]) -> dict[int, int]:
    """Which old box goes on as which new one: pairs of indices, the best overlap first, each box once."""
    overlaps = ((overlap(a, b), i, j) for i, a in enumerate(old) for j, b in enumerate(new))
    pairs: dict[int, int] = {}
    for share, i, j in sorted(overlaps, key=lambda found: -found[0]):
        if share >= SAME and i not in pairs and j not in pairs.values():
            pairs[i] = j
    return pairs


def overlap(a: Box, b: Box) -> float:
    """Intersection over union of two boxes, 0..1."""
    width = min(a.left + a.width, b.left + b.width) - max(a.left, b.left)
    height = min(a.top + a.height, b.top + b.height) - max(a.top, b.top)
    shared = max(width, 0.0) * max(height, 0.0)
    return shared / (a.area + b.area - shared) if shared else 0.0


def crop(frame: Frame, box: Box, margin: float) -> Frame:
    """The square around a box, ``margin`` of its longer side wider all around, as (224, 224, 3).

    Where it reaches beyond the frame, the frame's edge is repeated.
    """
    from PIL import Image

    height, width = frame.shape[:2]
    side = max(round(max(box.width, box.height) * (1 + 2 * margin)), 1)
    rows = round(box.top + box.height / 2 - side / 2) + np.arange(side)
    columns = round(box.left + box.width / 2 - side / 2) + np.arange(side)
    square = frame[rows.clip(0, height - 1)[:, None], columns.clip(0, width - 1)]
    resized = Image.fromarray(square).resize(
        (SIZE, SIZE), Image.Resampling.BILINEAR
    )  # averages when it shrinks
    return np.asarray(resized)
