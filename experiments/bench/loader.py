"""What batches cost: beside bare tensors, from a memory map, and as the corpus grows."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from experiments.bench.measure import Figure, Scale, growth, interleaved, medians, ratio, timed
from experiments.bench.setting import CPU, corpus, fold_data, noise_corpus, settings
from mer_lightning.config.schema import Config
from mer_lightning.data.datamodule import BatchLoader, FoldData
from mer_lightning.data.folds import draw_folds
from mer_lightning.data.readers.registry import read_corpus
from mer_lightning.data.readers.store import write_store

BATCH = 64
SMALLEST = 5_000  # utterances, from which the curve grows by fours
NARROW = 16  # dimensions of the curve's two feature sets


def loader(scale: Scale) -> list[Figure]:
    """An epoch of random batches of 64 against ``index_select`` on the same rows of the same tensors."""
    data = fold_data(settings(f"data.size={scale.size}", f"trainer.batch_size={BATCH}"))
    times = interleaved({"loader": timed(epoch_of(data)), "bare": timed(bare(data))}, 4 * scale.repeats)
    batches = -(-len(data.train_rows) // BATCH)
    per_batch = {name: round(1e6 * s / batches, 1) for name, s in medians(times).items()}
    return [Figure("loader", ratio(times["loader"], times["bare"]), details={"us per batch": per_batch})]


def store(scale: Scale) -> list[Figure]:
    """Opening a store against reading the bytes of its files; and an epoch from a memory map against memory.

    Wall-clock times: most of it is the system's work. A store in memory is verified by its digests.
    """
    with tempfile.TemporaryDirectory() as folder:
        root = write_store(corpus(scale.size), Path(folder) / "store")
        opened, mapped = (_opened(root, gigabytes) for gigabytes in (8, 0))
        files = list(root.iterdir())
        opening = interleaved(
            {
                "to memory": timed(lambda: read_corpus(opened.data), clock=time.perf_counter),
                "memory-mapped": timed(lambda: read_corpus(mapped.data), clock=time.perf_counter),
                "bytes": timed(lambda: [f.read_bytes() for f in files], clock=time.perf_counter),
            },
            scale.repeats,
        )
        epochs = interleaved(
            {
                name: timed(epoch_of(_fold_of(config)), clock=time.perf_counter)
                for name, config in (("memory", opened), ("map", mapped))
            },
            2 * scale.repeats,
        )
    megabytes = sum(x.nbytes for x in corpus(scale.size).features.values()) / 1e6
    details = {"seconds": medians(opening), "megabytes": round(megabytes)}
    return [
        Figure("store_opening", ratio(opening["to memory"], opening["bytes"]), details=details),
        Figure("store_mapping", ratio(opening["memory-mapped"], opening["bytes"]), details=details),
        Figure("mapped_epoch", ratio(epochs["map"], epochs["memory"]), details={"seconds": medians(epochs)}),
    ]


def loader_growth(scale: Scale) -> list[Figure]:
    """The time of an epoch of batches as the corpus grows, with narrow features: linear is 1.

    The details have the cost of a batch at each size, and that of bare tensors.
    """
    sizes = [SMALLEST]
    while sizes[-1] < scale.largest:
        sizes.append(min(4 * sizes[-1], scale.largest))
    seconds: dict[int, list[float]] = {}
    curve = {}
    for size in sizes:
        narrow = noise_corpus(size, {"level": NARROW}, {"shared": NARROW})
        data = FoldData(narrow, draw_folds(narrow, 5, seed=0), 0, "paper", BATCH, seed=0)
        times = interleaved({"loader": timed(epoch_of(data)), "bare": timed(bare(data))}, scale.repeats)
        batches = -(-len(data.train_rows) // BATCH)
        curve[str(size)] = {name: round(1e6 * s / batches, 1) for name, s in medians(times).items()}
        seconds[size] = times["loader"]
    curves = list(zip(*seconds.values(), strict=True))
    return [
        Figure("loader_growth", growth(sizes, curves), 1.1, unit="exponent", details={"us per batch": curve})
    ]


def epoch_of(data: FoldData) -> Callable[[], None]:
    """All batches of the training part, as training gets them."""
    batches = BatchLoader(data.table(CPU), data.train_rows, BATCH, seed=0)

    def work() -> None:
        for _ in batches:
            pass

    return work


def bare(data: FoldData) -> Callable[[], None]:
    """The same rows of the same tensors, and nothing around it."""
    whole = data.table(CPU)[torch.arange(len(data.corpus.utterances))]
    rows = torch.from_numpy(data.train_rows)

    def work() -> None:
        for batch in torch.split(rows[torch.randperm(len(rows))], BATCH):
            for x in (*whole.features.values(), whole.emotion, whole.valence):
                x.index_select(0, batch)

    return work


def _opened(root: Path, gigabytes: int) -> Config:
    return settings("data=store", f"data.root={root}", f"data.resident_gb={gigabytes}")


def _fold_of(config: Config) -> FoldData:
    data = read_corpus(config.data)
    return FoldData(data, draw_folds(data, 5, seed=0), 0, "paper", BATCH, seed=0)
