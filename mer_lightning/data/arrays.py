"""Arrays from files that may be damaged or hostile."""

import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mer_lightning.errors import UserError


def load_npy(path: Path) -> NDArray[np.generic]:
    """The array of a ``.npy`` file, as a read-only memory map of any shape and dtype.

    Mapping refuses a header that claims more than the file holds before any memory is taken.
    Raises UserError, naming the file, if it is missing, damaged, not a ``.npy`` file or a pickle.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        with warnings.catch_warnings():  # a hostile header overflows before it is refused
            warnings.simplefilter("ignore")
            array: NDArray[np.generic] = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(array, np.memmap):
            raise ValueError("it is an .npz archive")
        if array.offset + array.nbytes != path.stat().st_size:
            raise ValueError("it is longer than its header says")
    except Exception as error:  # broken headers raise a dozen kinds of exception
        raise UserError(
            f"{path}: cannot be read as a .npy array without pickled objects ({brief(error)}); "
            "write it again with numpy.save from a plain array of floats"
        ) from error
    return array


def save_npy(path: Path, array: NDArray[np.generic]) -> None:
    """Write a C-contiguous array as ``numpy.save`` does, which hides why it failed, a full disk say."""
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
        file.write(array.data)


def to_float(array: NDArray[np.generic]) -> NDArray[np.generic]:
    """A copy in memory, as float16 if it is float16 and float32 if it is another number.

    What is not a number stays as it is, and what float32 cannot hold becomes infinite: both are then
    refused by ``check_features``.
    """
    if array.dtype.kind not in "fiu":
        return array
    with np.errstate(over="ignore"):
        return np.array(
            array, dtype=np.float16 if array.dtype.itemsize == 2 and array.dtype.kind == "f" else np.float32
        )


def brief(error: BaseException) -> str:
    """An exception in one short line, for a message."""
    return " ".join(str(error).split())[:120] or type(error).__name__
