"""The one tensor of a feature store's ``NAME.safetensors``, without loading it."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mer_lightning.data.arrays import brief
from mer_lightning.errors import UserError

TENSOR = "features"
DTYPES: dict[str, np.dtype[Any]] = {"F16": np.dtype("<f2"), "F32": np.dtype("<f4")}
LARGEST_HEADER = 100_000_000  # as the format's own reader has it


def map_tensor(path: Path) -> NDArray[np.floating]:
    """The (N, D) float16 or float32 tensor ``features`` of a safetensors file, as a read-only memory map.

    The format is 8 bytes of header length, a JSON header, and the tensors' bytes; everything the header
    claims is checked against the file before it is mapped.
    Raises UserError, naming the file, if it is missing or not that.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= min(size - 8, LARGEST_HEADER):
                raise ValueError(f"a header of {length} bytes in a file of {size}")
            dtype, shape = _parse(json.loads(file.read(length)), size - 8 - length)
        return np.memmap(path, dtype=dtype, mode="r", offset=8 + length, shape=shape)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            f"{path}: cannot be read as a feature set of a store ({brief(error)}); write the store again"
        ) from error


def _parse(header: Any, payload: int) -> tuple[np.dtype[Any], tuple[int, int]]:
    """Dtype and shape of the tensor, which must fill all ``payload`` bytes; a ValueError otherwise."""
    entry = header.get(TENSOR) if isinstance(header, dict) else None
    if not isinstance(entry, dict) or set(header) - {TENSOR, "__metadata__"}:
        raise ValueError(f"expected one tensor, called {TENSOR!r}")
    dtype, shape = DTYPES.get(str(entry.get("dtype"))), entry.get("shape")
    if dtype is None:
        raise ValueError(f"dtype {str(entry.get('dtype'))[:20]}, expected F16 or F32")
    if not isinstance(shape, list) or len(shape) != 2 or not all(type(n) is int and n > 0 for n in shape):
        raise ValueError(f"shape {str(shape)[:40]}, expected two numbers above 0")
    claimed = math.prod(shape) * dtype.itemsize
    if claimed != payload or entry.get("data_offsets") != [0, payload]:
        raise ValueError(f"shape {shape} takes {claimed} bytes, the file holds {payload}")
    return dtype, (shape[0], shape[1])
