"""Label archives of MERTools: an ``.npz`` of pickles, read without running anything they ask for."""

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from mer_lightning.data.arrays import brief
from mer_lightning.errors import UserError

LARGEST_MEMBER = 256 * 2**20
ENDING = "_corpus.npy"
# numpy's own reconstruction functions, taken from numpy itself rather than imported by a pickle's word
_RECONSTRUCT = np.empty(0).__reduce__()[0]
_SCALAR = np.float64(0).__reduce__()[0]
ADMITTED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy.core.multiarray", "scalar"): _SCALAR,
    ("numpy._core.multiarray", "scalar"): _SCALAR,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}


def read_corpora(path: Path) -> dict[str, dict[Any, Any]]:
    """Split -> ``{clip: {'emo': text, 'val': number}}``, from the keys ``SPLIT_corpus`` of the archive.

    Raises UserError if the file is damaged, or holds anything but numpy arrays and plain Python data.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        with zipfile.ZipFile(path) as archive:
            members = [m for m in archive.infolist() if m.filename.endswith(ENDING)]
            if not members:
                raise UserError(f"{path}: no key such as train_corpus among {archive.namelist()[:8]}")
            return {m.filename.removesuffix(ENDING): _read_member(archive, m, path) for m in members}
    except UserError:
        raise
    except Exception as error:  # a damaged archive or pickle raises nearly anything
        raise UserError(f"{path}: cannot be read as a label archive ({brief(error)})") from error


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> dict[Any, Any]:
    where = f"{path}, key {member.filename.removesuffix('.npy')!r}"
    if member.file_size > LARGEST_MEMBER:
        raise UserError(f"{where}: {member.file_size} bytes; a label table has at most {LARGEST_MEMBER}")
    file = io.BytesIO(archive.read(member))  # zipfile stops at the declared size
    header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    shape, _, dtype = header[np.lib.format.read_magic(file)](file)
    table = _Unpickler(file, where).load().item() if shape == () and dtype.hasobject else None
    if not isinstance(table, dict):
        raise UserError(f"{where}: expected a 0-d object array with a dict of clips")
    return table


class _Unpickler(pickle.Unpickler):
    """Admits the reconstruction of numpy arrays, dtypes and scalars, and nothing else."""

    def __init__(self, file: io.BytesIO, where: str) -> None:
        super().__init__(file)
        self.where = where

    def find_class(self, module: str, name: str) -> Any:
        """What a pickle may call; a UserError for all else."""
        if (module, name) not in ADMITTED:
            raise UserError(
                f"{self.where}: refused, the pickle in it asks for {f'{module}.{name}'[:80]!r}; "
                "labels need only text and numbers, so do not trust this file"
            )
        return ADMITTED[module, name]
