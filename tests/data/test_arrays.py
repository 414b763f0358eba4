import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from mer_lightning.data.arrays import load_npy, to_float
from mer_lightning.errors import UserError


def write_header(path: Path, shape: str, body: bytes = b"") -> None:
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + body)


def test_reads_what_numpy_wrote(tmp_path: Path) -> None:
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.save(tmp_path / "x.npy", array)
    loaded = load_npy(tmp_path / "x.npy")
    np.testing.assert_array_equal(loaded, array)
    assert isinstance(loaded, np.memmap)
    assert not loaded.flags.writeable


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


KINDS = (
    "missing",
    "folder",
    "empty",
    "truncated",
    "longer",
    "header cut",
    "text",
    "object",
    "pickle",
    "npz",
    "huge",
    "overflow",
    "overflow one",
    "negative",
    "not a shape",
)


def broken(kind: str, path: Path) -> None:
    whole = path.with_name("whole.npy")
    np.save(whole, np.ones((100, 5)))
    match kind:
        case "missing":
            pass
        case "folder":
            path.mkdir()
        case "empty":
            path.write_bytes(b"")
        case "truncated":
            path.write_bytes(whole.read_bytes()[:-8])
        case "longer":
            path.write_bytes(whole.read_bytes() + b"\0")
        case "header cut":
            path.write_bytes(whole.read_bytes()[:40])
        case "text":
            path.write_text("1,2,3\n")
        case "object":
            np.save(path, np.array([{"a": 1}, None], dtype=object))
        case "pickle":
            path.write_bytes(pickle.dumps(Bomb(path.with_name("owned"))))
        case "npz":
            with zipfile.ZipFile(path, "w") as archive:
                archive.write(whole, "x.npy")
        case "huge":
            write_header(path, "(1000000000000, 1000)")
        case "overflow":
            write_header(path, f"({2**62}, {2**62})")
        case "overflow one":
            write_header(path, f"({2**80},)")
        case "negative":
            write_header(path, "(-2, -2)", b"0" * 64)
        case "not a shape":
            write_header(path, "'wide'")


@pytest.mark.parametrize("kind", KINDS)
def test_refuses_a_broken_file_by_name(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "broken.npy"
    broken(kind, path)
    with pytest.raises(UserError, match=r"broken\.npy") as caught:
        load_npy(path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("float64", "float32"),
        ("float32", "float32"),
        ("float16", "float16"),
        (">f4", "float32"),
        ("i8", "float32"),
    ],
)
def test_to_float_copies_as_float32_or_float16(given: str, kept: str) -> None:
    array = np.array([[1, 2], [3, 4]], dtype=given)
    copy = to_float(array)
    assert copy.dtype == np.dtype(kept)
    assert copy.dtype.isnative
    np.testing.assert_array_equal(copy, array)
    assert not np.shares_memory(copy, array)


def test_to_float_leaves_a_number_too_large_to_be_refused() -> None:
    assert np.isinf(to_float(np.array([1e300]))).all()
    assert to_float(np.array(["a"])).dtype.kind == "U"
