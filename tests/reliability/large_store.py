"""A store larger than memory: write one, train on it, and see how much memory that took.

    python -m tests.reliability.large_store GIGABYTES [FOLDER]

The store is made of random numbers, half of the sets float16 and half float32, and removed afterwards.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mer_lightning.data.corpus import Utterance
from mer_lightning.data.labels import write_labels
from mer_lightning.data.readers.manifest import FILE, FeatureEntry, Manifest
from mer_lightning.files.checksums import write_checksums
from mer_lightning.files.strict_json import as_json

SETS = {  # name -> dimensions, dtype, role
    "hubert_18": (1024, "float16", "level"),
    "hubert_19": (1024, "float16", "level"),
    "hubert_20": (1024, "float32", "level"),
    "manet": (1024, "float16", "shared"),
    "resnet": (2048, "float32", "shared"),
}
ROW = sum(d * np.dtype(t).itemsize for d, t, _ in SETS.values())
BLOCK = 8192
EMOTIONS = ("angry", "happy", "sad")
TINY = ("network.dimension=8", "trainer.epochs=1", "pnao.rounds=0", "data.folds=column", "folds.workers=1")


class Used(NamedTuple):
    """What a run took: the most memory that was resident at a time, wall-clock and processor seconds."""

    peak_bytes: int
    seconds: float
    processor: float


def write_large_store(root: Path, size: float) -> int:
    """A store of ``size`` bytes; returns N. Columns 0 and 1 of every set tell emotion and valence."""
    n, rng = int(size / ROW), np.random.default_rng(0)
    root.mkdir()
    emotion = rng.integers(0, len(EMOTIONS), n)
    people = [
        Utterance(f"u{i}", EMOTIONS[e], float(e) - 1, "train", f"s{i % 50}", i // 10 % 2)
        for i, e in enumerate(emotion.tolist())
    ]
    write_labels(root / "labels.csv", people)
    entries = {}
    for name, (dimension, dtype, role) in SETS.items():
        _write_set(root / f"{name}.npy", emotion, dimension, np.dtype(dtype), rng)
        entries[name] = FeatureEntry(dtype, (n, dimension), role, {}, 0)
    manifest = Manifest(name="large", synthetic=True, classes=list(EMOTIONS), utterances=n, features=entries)
    (root / FILE).write_text(as_json(manifest))
    write_checksums(root)
    return n


def _write_set(
    path: Path, emotion: np.ndarray, dimension: int, dtype: np.dtype, rng: np.random.Generator
) -> None:
    """One set, a block at a time; the same noise in every block, for it is slow to draw."""
    n, noise = len(emotion), rng.standard_normal((BLOCK, dimension), dtype=np.float32)
    header = {"descr": dtype.str, "fortran_order": False, "shape": (n, dimension)}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, n, BLOCK):
            here = emotion[start : start + BLOCK]
            block = noise[: len(here)].astype(dtype)
            block[:, 0], block[:, 1] = here == 0, here == 1
            file.write(block.data)


def train(store: Path, run: Path, *overrides: str) -> Used:
    """One epoch on two folds of a mapped store, in a process of its own."""
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    command = (sys.executable, "-m", "mer_lightning", "+experiment=pnao", "data=store", f"data.root={store}")
    with (run.parent / "log.txt").open("w") as log:
        process = subprocess.Popen(
            [*command, *TINY, f"hydra.run.dir={run}", *overrides], stdout=log, stderr=log
        )
        peak = 0
        while process.poll() is None:
            peak = max(peak, _high_water(process.pid))
            time.sleep(0.1)
    if process.returncode:
        raise RuntimeError((run.parent / "log.txt").read_text()[-2000:])
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = ended.ru_utime + ended.ru_stime - before.ru_utime - before.ru_stime
    return Used(peak, time.perf_counter() - began, processor)


def _high_water(pid: int) -> int:
    """The largest resident set of a process, mapped files' pages included; 0 if it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    lines = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    return int(lines.get("VmHWM", "0 kB").split()[0]) * 1024


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir=sys.argv[2] if len(sys.argv) > 2 else None) as folder:
        rows = write_large_store(Path(folder) / "store", float(sys.argv[1]) * 1e9)
        used = train(Path(folder) / "store", Path(folder) / "run", "data.resident_gb=0.1")
        results = json.loads((Path(folder) / "run" / "results.json").read_text())
        print(f"{rows:,} rows: {used.peak_bytes / 1e9:.2f} GB resident at most, {used.seconds:.0f} s, ")
        print(f"{used.processor:.0f} s of processor time; validation {results['validation']}")
