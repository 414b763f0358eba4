"""Rows of memory-mapped feature sets, without the map staying in memory.

A map's pages count as this process's memory once they are touched, and random rows are what a disk serves
worst. So rows are copied out in the file's order, and the pages given back at once.
"""

import mmap

import numpy as np
from numpy.typing import NDArray

STROKE = 8_000_000  # bytes copied before the map's pages are given back


def gather(array: NDArray[np.floating], rows: NDArray[np.int64]) -> NDArray[np.floating]:
    """``array[rows]`` as a copy, (n, D); of a memory map no page stays in memory.

    Args:
        array: (N, D), a memory map or not.
        rows: (n,) indices in any order.
    """
    if not isinstance(array, np.memmap):
        return array[rows]
    source = np.asarray(array)  # a memmap's own indexing makes memmaps of copies
    out = np.empty((len(rows), array.shape[1]), array.dtype)
    order = np.argsort(rows, kind="stable")
    step = max(1, STROKE // max(1, source[:1].nbytes))
    for start in range(0, len(order), step):
        places = order[start : start + step]
        out[places] = source[rows[places]]
        release(array)
    return out


def release(array: NDArray[np.generic]) -> None:
    """Give the memory of a read-only map's pages back; nothing for any other array.

    What is read later comes from the system's cache, or the disk, as if for the first time.
    """
    base: object = array
    while isinstance(base, np.ndarray):
        base = base.base
    # pages of a map that may be written can hold what is nowhere else; not every system can give back
    if isinstance(base, mmap.mmap) and not array.flags.writeable and hasattr(mmap, "MADV_DONTNEED"):
        base.madvise(mmap.MADV_DONTNEED)
