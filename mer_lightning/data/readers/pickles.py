"""Pickles of text, numbers, plain containers and numpy's arrays, read without running anything they ask for.

A pickle names functions and has them called. Here every name but numpy's array, dtype and scalar is
refused, and those are stand-ins of our own: numpy's trust what they are given, and a pickle made to
do so crashes them.
"""

import io
import pickle
import re
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from mer_lightning.data.arrays import brief
from mer_lightning.errors import UserError

# A bytearray is taken from memory before the file is seen to hold it; sets, and the older way to make a dict,
# hash whatever they are given. No label is made of these.
REFUSED = pickle.BYTEARRAY8 + pickle.EMPTY_SET + pickle.ADDITEMS + pickle.FROZENSET + pickle.DICT
PAYLOAD = 2**20  # bytes in one piece that are an array's
LARGEST_REST = 32 * 2**20  # bytes in smaller pieces, which can take a hundred times their size in memory


class Array:
    """Stands in for ``numpy.ndarray``: its content is an array of numbers or text, or a list of objects."""

    content: object = None  # of a 0-d object array, the object itself

    def __init__(self, *_: object) -> None:
        """As ``_reconstruct(numpy.ndarray, shape, typecode)``: what counts comes with the state."""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, data = state
        if isinstance(data, list):
            self.content = data[0] if shape == () and len(data) == 1 else data
        elif isinstance(data, bytes):
            self.content = np.frombuffer(data, dtype.checked()).reshape(shape, order="F" if fortran else "C")


class _Dtype:
    """Stands in for ``numpy.dtype``: its code, such as ``f8`` or ``U5``, and its byte order."""

    order: object = "="

    def __init__(self, code: object, *_: object) -> None:
        self.code = code

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = state[1]

    def checked(self) -> str:
        """The dtype of numbers or text, as numpy writes it. ValueError for any other."""
        if not (isinstance(self.order, str) and isinstance(self.code, str)):
            raise ValueError("an unexpected dtype")
        code = self.order + self.code
        if not re.fullmatch(r"[<>|=]([fiu]\d{1,2}|b1|U\d{1,4})", code):
            raise ValueError(f"a dtype {code[:20]!r}")
        return code


class _Scalar:
    """Stands in for numpy's ``scalar``, which makes a number or text of a dtype and bytes."""

    def __new__(cls, dtype: _Dtype, data: bytes) -> Any:
        (value,) = np.frombuffer(data, dtype.checked()).tolist()
        return value

    def __setstate__(self, state: object) -> None:
        raise ValueError("a scalar has no state")


class _Buffer(Array):
    """Stands in for ``_frombuffer``, the array of pickle's fifth protocol."""

    def __init__(self, data: bytes, dtype: _Dtype, shape: tuple[int, ...], order: str) -> None:
        self.__setstate__((1, shape, dtype, order == "F", data))


ADMITTED = {("numpy", "ndarray"): Array, ("numpy", "dtype"): _Dtype} | {
    (f"numpy.{core}.{module}", name): stand_in
    for core in ("core", "_core")  # of numpy 1 and 2
    for module, name, stand_in in (
        ("multiarray", "_reconstruct", Array),
        ("multiarray", "scalar", _Scalar),
        ("numeric", "_frombuffer", _Buffer),
    )
}


class Unpickler(pickle._Unpickler):  # the one in Python: the one in C takes memory on a pickle's word
    """Reads one object; its arrays are an ``Array`` each. Nearly any exception says that it is damaged.

    where: the file, for the UserError about what it asks for.
    """

    def __init__(self, file: IO[bytes], where: str) -> None:
        super().__init__(file)
        self.where = where

    def load_setitem(self) -> None:
        """A pair into a dict: other keys than text may be made to take forever to hash, or to tell apart."""
        self._check_keys(self.stack[-2:-1])  # type: ignore[attr-defined]
        super().load_setitem()  # type: ignore[misc]

    def load_setitems(self) -> None:
        """Pairs into a dict."""
        self._check_keys(self.stack[::2])  # type: ignore[attr-defined]
        super().load_setitems()  # type: ignore[misc]

    def _check_keys(self, keys: Sequence[object]) -> None:
        if odd := [type(key).__name__ for key in keys if not isinstance(key, str)]:
            raise ValueError(f"a key of type {odd[0]}, not text")

    def load_put(self) -> None:
        """What is remembered under a number, in the oldest protocol of any size: large ones can collide."""
        number = int(self.readline()[:-1])  # type: ignore[attr-defined]
        if not 0 <= number < 2**32:
            raise ValueError("a number that no pickle writes")
        self.memo[number] = self.stack[-1]  # type: ignore[attr-defined]

    dispatch = {  # noqa: RUF012  (as the base class has it)
        **{code: load for code, load in pickle._Unpickler.dispatch.items() if code not in REFUSED},
        pickle.PUT[0]: load_put,  # type: ignore[dict-item]
        pickle.SETITEM[0]: load_setitem,  # type: ignore[dict-item]
        pickle.SETITEMS[0]: load_setitems,  # type: ignore[dict-item]
    }

    def find_class(self, module: str, name: str) -> Any:
        """What a pickle may call; a UserError for all else."""
        if (module, name) not in ADMITTED:
            raise UserError(
                f"{self.where}: refused, the pickle in it asks for {f'{module}.{name}'[:80]!r}; "
                "only text, numbers and arrays are needed, so do not trust this file"
            )
        return cast("Any", ADMITTED[module, name])


def read_arrays(path: Path) -> Any:
    """The object in a pickle file of large arrays, which take the memory that they take in the file.

    Raises UserError if the file is damaged, or holds anything but text, numbers, containers and arrays.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        with path.open("rb") as file:
            return _plain(
                _ArrayUnpickler(cast("IO[bytes]", _Bounded(file, path.stat().st_size)), str(path)).load()
            )
    except UserError:
        raise
    except Exception as error:  # a damaged pickle raises nearly anything
        raise UserError(f"{path}: cannot be read as a pickle of arrays ({brief(error)})") from error


class _ArrayUnpickler(Unpickler):
    def load_frame(self) -> None:
        """Frames are not read ahead, so that every piece is counted."""
        self.read(8)  # type: ignore[attr-defined]

    dispatch = {  # noqa: RUF012
        **Unpickler.dispatch,
        pickle.FRAME[0]: load_frame,  # type: ignore[dict-item]
        pickle.BYTEARRAY8[0]: pickle._Unpickler.dispatch[pickle.BINBYTES8[0]],
    }


class _Bounded:
    """A file that gives no more than it holds, and no more than ``LARGEST_REST`` outside large pieces."""

    def __init__(self, file: io.BufferedReader, size: int) -> None:
        self.file, self.size, self.rest = file, size, 0

    def read(self, n: int) -> bytes:
        if n > self.size - self.file.tell():
            raise EOFError("it ends too early")
        return self._counted(self.file.read(n))

    def readline(self) -> bytes:
        return self._counted(self.file.readline(PAYLOAD - 1))

    def _counted(self, piece: bytes) -> bytes:
        self.rest += len(piece) if len(piece) < PAYLOAD else 0
        if self.rest > LARGEST_REST:
            raise ValueError(f"more than {LARGEST_REST} bytes that are not in arrays of {PAYLOAD} or more")
        return piece


def _plain(found: Any) -> NDArray[Any] | Any:
    """The same without stand-ins, in dicts and dicts in them."""
    if isinstance(found, Array):
        return found.content
    if isinstance(found, dict):
        return {key: _plain(value) for key, value in found.items()}
    return found
