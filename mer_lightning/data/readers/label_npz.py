"""Label archives of MERTools: an ``.npz`` of pickles, read without running anything they ask for.

A pickle names functions and has them called. Here every name but numpy's array, dtype and scalar is
refused, and those three are stand-ins of our own: numpy's trust what they are given, and a pickle made to
do so crashes them.
"""

import io
import pickle
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from mer_lightning.data.arrays import brief
from mer_lightning.errors import UserError

LARGEST = 8 * 2**20  # bytes, of 100,000 clips; a pickle can take a hundred times its size in memory
# A bytearray is taken from memory before the file is seen to hold it; sets, and the older way to make a dict,
# hash whatever they are given. No label is made of these.
REFUSED = pickle.BYTEARRAY8 + pickle.EMPTY_SET + pickle.ADDITEMS + pickle.FROZENSET + pickle.DICT
ENDING = "_corpus.npy"


def read_corpora(path: Path) -> dict[str, dict[Any, Any]]:
    """Split -> ``{clip: {'emo': text, 'val': number}}``, from the keys ``SPLIT_corpus`` of the archive.

    Raises UserError if the file is damaged, or holds anything but text, numbers and plain containers.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        with zipfile.ZipFile(path) as archive:
            members = [m for m in archive.infolist() if m.filename.endswith(ENDING)]
            if not members:
                raise UserError(f"{path}: no key such as train_corpus among {archive.namelist()[:8]}")
            size = sum(m.file_size for m in members)
            if size > LARGEST:
                raise UserError(f"{path}: its labels have {size} bytes; at most {LARGEST} are read")
            return {m.filename.removesuffix(ENDING): _read_member(archive, m, path) for m in members}
    except UserError:
        raise
    except Exception as error:  # a damaged archive or pickle raises nearly anything
        raise UserError(f"{path}: cannot be read as a label archive ({brief(error)})") from error


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> dict[Any, Any]:
    where = f"{path}, key {member.filename.removesuffix('.npy')!r}"
    file = io.BytesIO(archive.read(member))  # zipfile stops at the declared size
    header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    shape, _, dtype = header[np.lib.format.read_magic(file)](file)
    array = _Unpickler(file, where).load() if shape == () and dtype.hasobject else None
    if not isinstance(array, _Array) or not isinstance(array.content, dict):
        raise UserError(f"{where}: expected a 0-d object array with a dict of clips")
    return array.content


class _Array:
    """Stands in for ``numpy.ndarray``, of which it keeps the content of a 0-d object array."""

    content: object = None

    def __init__(self, *_: object) -> None:
        """As ``_reconstruct(numpy.ndarray, shape, typecode)``: what counts comes with the state."""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, _, _, data = state
        if shape == () and isinstance(data, list) and len(data) == 1:
            self.content = data[0]


class _Dtype:
    """Stands in for ``numpy.dtype``: its code, such as ``f8`` or ``U5``, and its byte order."""

    order: object = "="

    def __init__(self, code: object, *_: object) -> None:
        self.code = code

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = state[1]


class _Scalar:
    """Stands in for numpy's ``scalar``, which makes a number or text of a dtype and bytes."""

    def __new__(cls, dtype: _Dtype, data: bytes) -> Any:
        if not (isinstance(dtype.order, str) and isinstance(dtype.code, str)):
            raise ValueError("a scalar of an unexpected dtype")
        code = dtype.order + dtype.code
        if not re.fullmatch(r"[<>|=]([fiu]\d{1,2}|b1|U\d{1,2})", code):
            raise ValueError(f"a scalar of dtype {code[:20]!r}")
        (value,) = np.frombuffer(data, code).tolist()
        return value

    def __setstate__(self, state: object) -> None:
        raise ValueError("a scalar has no state")


ADMITTED = {("numpy", "ndarray"): _Array, ("numpy", "dtype"): _Dtype} | {
    (f"numpy.{core}.multiarray", name): stand_in
    for core in ("core", "_core")  # of numpy 1 and 2
    for name, stand_in in (("_reconstruct", _Array), ("scalar", _Scalar))
}


class _Unpickler(pickle._Unpickler):  # the one in Python: the one in C takes memory on a pickle's word
    def __init__(self, file: io.BytesIO, where: str) -> None:
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
                "labels need only text and numbers, so do not trust this file"
            )
        return cast("Any", ADMITTED[module, name])
