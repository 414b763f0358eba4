"""Time to a result: the public baseline's whole procedure against whole runs of ours, by the wall clock.

python -m experiments.bench.result                  (the small synthetic data)
python -m experiments.bench.result data=folder data.root=DIR data.levels=[a,b] data.shared=[x]

The procedure: five folds one after the other, 100 epochs each without early stopping, Adam at 1e-4 with
weight decay 1e-5, batch 32, its loop as in ``loops.py``, with all cores. Ours: the program from its start to
its report, once a system, and once for a sweep of three rates.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from experiments.bench.loops import PEER, Loop
from experiments.bench.measure import Figure, Scale, Spread, threads
from experiments.bench.setting import new_module, settings
from mer_lightning.data.datamodule import FoldData
from mer_lightning.data.folds import draw_folds
from mer_lightning.data.readers.registry import read_corpus
from mer_lightning.files.recorded import Scores
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.model.metrics import in_units, score
from mer_lightning.training.cores import cores

DEFAULTS = (
    "fusion=attention",
    "trainer.learning_rate=1e-4",
    "trainer.weight_decay=1e-5",
    "trainer.batch_size=32",
)
EPOCHS = 100
RATES = "0.005,0.007,0.01"
GOALS = {"baseline": 15.0, "pnao": 2.0, "three rates": 2.0}
OURS = {
    "baseline": ["+experiment=baseline"],
    "pnao": ["+experiment=pnao"],
    "three rates": ["-m", "+experiment=pnao", f"pnao.rate={RATES}"],
}


class Result(NamedTuple):
    """Seconds, and the mean over folds of the validation scores at the chosen epoch or round."""

    seconds: float
    dis: float | None = None
    com: float | None = None


def peer(overrides: list[str]) -> Result:
    """The public baseline's procedure; the time to read the data and to start Python is left out."""
    found = [scored(loop, train(loop, EPOCHS)) for loop in loops(overrides)]
    return Result(sum(r.seconds for r in found), mean(found, "dis"), mean(found, "com"))


def peer_in_part(overrides: list[str], epochs: int) -> Result:
    """The time of the same, from a few epochs of the first fold."""
    found = loops(overrides)
    first = next(found)
    train(first, 1)  # the first one after a change of threads is slow
    seconds = train(first, epochs) / epochs
    return Result(seconds * EPOCHS * (1 + sum(1 for _ in found)))


def loops(overrides: list[str]) -> Iterator[tuple[Loop, FoldData]]:
    """The public baseline's loop for each fold."""
    config = settings(*DEFAULTS, *overrides)
    corpus = read_corpus(config.data)
    folds = draw_folds(corpus, config.data.folds, config.seed)
    for fold in range(int(folds.max()) + 1):
        data = FoldData(corpus, folds, fold, config.protocol, config.trainer.batch_size, config.seed)
        yield Loop(config, new_module(config, data), data, PEER), data


def train(fold: tuple[Loop, FoldData], epochs: int) -> float:
    """Seconds, with all cores; the choice of the best epoch is not counted."""
    loop, _ = fold
    seconds = 0.0
    with threads(cores()):
        for _ in range(epochs):
            began = time.perf_counter()
            loop.epoch()
            seconds += time.perf_counter() - began
            loop.keep_best()
    return seconds


def scored(fold: tuple[Loop, FoldData], seconds: float) -> Result:
    """The best epoch on the fold."""
    loop, data = fold
    loop.network.load_state_dict(loop.kept)
    with torch.no_grad():
        decision, labels = loop.network(loop.stopping.features), loop.stopping
    reached = score(decision.log_posterior, decision.valence, labels.emotion, labels.valence)
    reached = in_units(reached, data.valence_scale.deviation)
    return Result(seconds, reached.dis, reached.com)


def ours(arguments: list[str], overrides: list[str]) -> Result:
    """A run or a sweep of the program, from its start; of a sweep the scores of the best setting."""
    with tempfile.TemporaryDirectory() as folder:
        place = f"hydra.{'sweep' if '-m' in arguments else 'run'}.dir={folder}/run"
        command = [sys.executable, "-m", "mer_lightning", *arguments, *overrides, place]
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        seconds = time.perf_counter() - began
        runs = [RunDirectory(path.parent) for path in Path(folder).glob("run/**/results.json")]
        best = [run.read_results().best for run in runs]
    by_run = [Result(seconds, mean(r.by_fold, "dis"), mean(r.by_fold, "com")) for r in best]
    return max(by_run, key=lambda result: result.com or result.dis or 0.0)


def mean(found: Sequence[Scores | Result], name: str) -> float | None:
    """Over folds; None where the labels have nothing to score."""
    values = [getattr(scores, name) for scores in found]
    return None if None in values else float(np.mean(values))


def time_to_result(scale: Scale) -> list[Figure]:
    """The procedure's time over ours, on the small synthetic data."""
    if not scale.complete:
        skipped = "only without --quick"
        return [
            Figure(f"time_to_result.{n}", None, g, higher=True, skipped=skipped) for n, g in GOALS.items()
        ]
    return figures({"peer": peer_in_part([], scale.epochs)} | {n: ours(a, []) for n, a in OURS.items()})


def figures(found: dict[str, Result]) -> list[Figure]:
    """A ratio for each system; the scores are in the details."""
    procedure = found["peer"]
    return [
        Figure(
            f"time_to_result.{name}",
            Spread(*[procedure.seconds / result.seconds] * 3),
            GOALS[name],
            higher=True,
            details={"peer": procedure._asdict(), "ours": result._asdict()},
        )
        for name, result in found.items()
        if name != "peer"
    ]


def main(overrides: list[str]) -> None:
    """A table on the terminal, and a file."""
    found = {"peer": peer(overrides)} | {name: ours(a, overrides) for name, a in OURS.items()}
    table = Table(box=None, pad_edge=False)
    for heading in ("", "seconds", "peer's time over it", "validation Dis", "validation Com"):
        table.add_column(heading, justify="left" if not heading else "right")
    for name, result in found.items():
        ratio = f"{found['peer'].seconds / result.seconds:.1f}"
        reached = ("" if value is None else f"{value:.4f}" for value in result[1:])
        table.add_row(name, f"{result.seconds:.0f}", ratio, *reached)
    Console().print(table)
    print(json.dumps({name: result._asdict() for name, result in found.items()}))


if __name__ == "__main__":
    main(sys.argv[1:])
