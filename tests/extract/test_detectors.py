import sys
from pathlib import Path

import numpy as np
import pytest

from mer_lightning.errors import UserError
from mer_lightning.extract.detectors import make_detector
from mer_lightning.extract.faces import overlap
from mer_lightning.extract.media import read_frames
from tests.extract.clips import CLIPS, needs_clips


@pytest.mark.parametrize("shape", [(270, 480), (40, 30), (1, 1), (8, 3000), (3000, 8)])
def test_there_is_no_face_in_noise_of_any_shape(shape: tuple[int, int]) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    assert make_detector("hog")(frame) == []


@needs_clips
def test_a_box_is_where_the_face_is_at_any_size() -> None:
    from PIL import Image

    frame = next(read_frames(CLIPS / "angry_01.mp4", 1))
    hog = make_detector("hog")
    (found,) = hog(frame)
    centre = np.array([found.left + found.width / 2, found.top + found.height / 2])
    np.testing.assert_allclose(centre, (325, 160), atol=15)  # seen by eye
    assert 140 < found.width < 220
    assert found.score > 0
    for factor in (0.5, 3):
        size = (int(480 * factor), int(270 * factor))
        (again,) = hog(np.asarray(Image.fromarray(frame).resize(size)))
        assert (
            overlap(found, again._replace(**{k: getattr(again, k) / factor for k in found._fields[:4]})) > 0.6
        )


def test_names_a_detector_can_have(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"detector=haar: expected hog, or"):
        make_detector("haar")
    with pytest.raises(UserError, match=r"none\.onnx: no such file"):
        make_detector(str(tmp_path / "none.onnx"))


def test_says_which_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dlib", None)
    with pytest.raises(UserError, match=r"needs dlib: pip install .mer-lightning\[extract\]"):
        make_detector("hog")


def yunet(path: Path, rows: int, columns: int) -> Path:
    """A network with YuNet's outputs that sees one face, 64 x 64 pixels about the cell (rows, columns) of 32
    pixels, as surely as the frame is red.
    """
    onnx = pytest.importorskip("onnx")
    from onnx import helper, numpy_helper

    side, nodes, outputs = 320, [], []
    nodes.append(helper.make_node("ReduceMax", ["input"], ["most"], axes=[2, 3], keepdims=0))  # (1, 3), BGR
    nodes.append(helper.make_node("MatMul", ["most", "red"], ["surely"]))  # (1, 1)
    nodes.append(
        helper.make_node("Mul", ["surely", "nought"], ["nothing"])
    )  # OpenCV wants no constant outputs
    constants = {"red": np.array([[0], [0], [1 / 255]], np.float32), "nought": np.zeros((1, 1), np.float32)}
    for stride in (8, 16, 32):
        cells = (side // stride) ** 2
        at = rows * (side // stride) + columns
        hot = np.zeros((1, cells, 1), np.float32)
        hot[0, at] = stride == 32
        place = np.zeros((1, cells, 4), np.float32)
        place[..., 2:] = np.log(64 / stride)
        constants |= {f"hot_{stride}": hot, f"place_{stride}": place}
        constants |= {f"marks_{stride}": np.zeros((1, cells, 10), np.float32)}
        nodes.append(helper.make_node("Mul", [f"hot_{stride}", "surely"], [f"cls_{stride}"]))
        nodes.append(helper.make_node("Mul", [f"hot_{stride}", "surely"], [f"obj_{stride}"]))
        nodes.append(helper.make_node("Add", [f"place_{stride}", "nothing"], [f"bbox_{stride}"]))
        nodes.append(helper.make_node("Add", [f"marks_{stride}", "nothing"], [f"kps_{stride}"]))
        for name, width in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
            outputs.append(helper.make_tensor_value_info(f"{name}_{stride}", 1, [1, cells, width]))
    graph = helper.make_graph(
        nodes,
        "yunet",
        [helper.make_tensor_value_info("input", 1, [1, 3, side, side])],
        outputs,
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def test_an_onnx_file_is_run_by_opencv(tmp_path: Path) -> None:
    pytest.importorskip("cv2")
    detector = make_detector(str(yunet(tmp_path / "y.onnx", rows=2, columns=5)))
    frame = np.zeros((640, 640, 3), np.uint8)  # searched at half its size
    assert detector(frame) == []
    frame[..., 0] = 255
    (found,) = detector(frame)
    np.testing.assert_allclose(found, (2 * (5 * 32 - 32), 2 * (2 * 32 - 32), 128, 128, 1), atol=1e-3)
    frame[..., 0], frame[..., 2] = 0, 255
    assert detector(frame) == []


@pytest.mark.parametrize("content", [b"", b"words", bytes(1000)])
def test_another_file_is_refused(tmp_path: Path, content: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("cv2")
    (tmp_path / "x.onnx").write_bytes(content)
    with pytest.raises(UserError, match=r"x\.onnx: cannot be read.*YuNet"):
        make_detector(str(tmp_path / "x.onnx"))
    assert capfd.readouterr() == ("", "")
