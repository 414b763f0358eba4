"""Rows of feature sets that need not fit in memory: read in file order, shuffled in blocks.

A memory map's pages count as this process's memory once they are touched, and random rows are what a disk
serves worst. So rows are copied out in the file's order, and the pages given back at once.
"""

import mmap

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

BUFFER = 500_000_000  # bytes: an epoch shuffles as many rows of mapped sets at a time as fit in it
BLOCKS = 64  # places of the file that fill a buffer: more of them mix better, fewer are read faster
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


def shuffled_loads(rows: Tensor, batch_size: int, row_bytes: int, generator: torch.Generator) -> list[Tensor]:
    """Every row once, in random order, in loads that fit in ``BUFFER``, of whole batches but for the last.

    Rows that fit as a whole are shuffled as a whole. Of more, blocks of consecutive rows are shuffled, and
    then the rows of each load, which holds blocks from ``BLOCKS`` random places.

    Args:
        rows: (n,) indices into the file.
        row_bytes: bytes that one row takes in the buffer; 0: none, whatever the rows.
    """
    fitting = max(1, BUFFER // max(1, row_bytes * batch_size))  # batches in a buffer
    batches = -(-len(rows) // batch_size)
    count = -(-batches // fitting) if row_bytes else 1
    if count <= 1:
        return [_shuffled(rows, generator)]
    size = -(-batches // count) * batch_size  # evened out: a short last load would mix badly
    blocks = torch.split(rows.sort().values, max(1, size // BLOCKS))
    order = torch.randperm(len(blocks), generator=generator).tolist()
    loads = torch.split(torch.cat([blocks[i] for i in order]), size)
    return [_shuffled(load, generator) for load in loads]


def _shuffled(rows: Tensor, generator: torch.Generator) -> Tensor:
    return rows[torch.randperm(len(rows), generator=generator).to(rows.device)]
