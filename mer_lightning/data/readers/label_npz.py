"""Label archives of MERTools: an ``.npz`` of pickles, which ``pickles.py`` reads."""

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from mer_lightning.data.arrays import brief
from mer_lightning.data.readers.pickles import Array, Unpickler
from mer_lightning.errors import UserError

LARGEST = 8 * 2**20  # bytes, of 100,000 clips; a pickle can take a hundred times its size in memory
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
    array = Unpickler(file, where).load() if shape == () and dtype.hasobject else None
    if not isinstance(array, Array) or not isinstance(array.content, dict):
        raise UserError(f"{where}: expected a 0-d object array with a dict of clips")
    return array.content
