"""The order in which an epoch visits rows that need not fit in memory: shuffled in blocks."""

import torch
from torch import Tensor

BUFFER = 500_000_000  # bytes: an epoch shuffles as many rows of mapped sets at a time as fit in it
BLOCKS = 64  # places of the file that fill a buffer: more of them mix better, fewer are read faster


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
