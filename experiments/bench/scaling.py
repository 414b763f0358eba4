"""The time of a PNAO run as it grows, in each direction that it can grow in."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import NamedTuple

from experiments.bench.folds import EpochTimes
from experiments.bench.measure import Figure, Scale, Side, growth, interleaved
from experiments.bench.setting import noise_corpus, settings
from mer_lightning.data.folds import draw_folds
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.training.crossval import cross_validate

STEPS = (1, 2, 4, 8)  # times the smallest size


class Size(NamedTuple):
    """Of a run. ``dimension`` is that of every feature set; there is one shared set."""

    utterances: int = 1000
    dimension: int = 64
    levels: int = 1
    folds: int = 2
    rounds: int = 0


# direction -> the size at a step. Work grows with the folds as folds - 1 (each trains on all the others), and
# with the rounds as rounds + 1.
DIRECTIONS: dict[str, Callable[[int], Size]] = {
    "utterances": lambda step: Size(utterances=1000 * step),
    "dimensions": lambda step: Size(dimension=256 * step),
    "levels": lambda step: Size(levels=step),
    "folds": lambda step: Size(folds=step + 1),
    "rounds": lambda step: Size(rounds=step - 1),
}
AXES = {"folds": "folds - 1", "rounds": "rounds + 1"}


def scaling(scale: Scale) -> list[Figure]:
    """The exponent of a run's time between the two largest sizes; 1 is linear."""
    steps = STEPS if scale.complete else STEPS[:-1]
    figures = []
    for direction, size in DIRECTIONS.items():
        sides = {str(step): run_of(size(step), scale.epochs) for step in steps}
        times = interleaved(sides, scale.few)
        exponent = growth(steps, list(zip(*times.values(), strict=True)))
        details = {"axis": AXES.get(direction, direction), "sizes": [s._asdict() for s in map(size, steps)]}
        details["seconds"] = [round(median(seconds), 4) for seconds in times.values()]
        figures.append(Figure(f"scaling.{direction}", exponent, 1.0, unit="exponent", details=details))
    return figures


def run_of(size: Size, epochs: int) -> Side:
    """A side: seconds of the processor for a whole cross-validation of that size, data made before."""
    levels = [f"level_{i}" for i in range(size.levels)]
    corpus = noise_corpus(size.utterances, dict.fromkeys(levels, size.dimension), {"shared": size.dimension})
    config = settings(
        f"trainer.epochs={epochs}",
        f"data.folds={size.folds}",
        f"pnao.rounds={size.rounds}",
        f"data.levels=[{','.join(levels)}]",
        "data.shared=[shared]",
        "folds.workers=1",
    )

    def side() -> float:
        with tempfile.TemporaryDirectory() as folder:
            began = time.process_time()
            folds = draw_folds(corpus, size.folds, seed=0)
            cross_validate(config, RunDirectory(Path(folder)), corpus, folds, EpochTimes())
            return time.process_time() - began

    return side


def draw(figures: list[Figure], path: Path) -> None:
    """Seconds against size, both logarithmic and relative to the smallest; a line of slope 1 is linear."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    picture, axes = plt.subplots(figsize=(6, 4.5), layout="constrained")
    measured = [f for f in figures if f.name.startswith("scaling.") and f.spread]
    for figure in measured:
        seconds = figure.details["seconds"]
        label = f"{figure.details['axis']}: {figure.spread.value:.2f}" if figure.spread else ""
        axes.plot(STEPS[: len(seconds)], [s / seconds[0] for s in seconds], marker="o", label=label)
    ends = STEPS[: max(len(f.details["seconds"]) for f in measured)]
    axes.plot(ends, ends, color="grey", linestyle="--", label="linear: 1")
    axes.set(xscale="log", yscale="log", xlabel="size over the smallest", ylabel="time over the smallest")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(matplotlib.ticker.FixedLocator(ends))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_locator(matplotlib.ticker.NullLocator())
    axes.legend(title="exponent at the end")
    axes.set_title("A PNAO run's time as it grows")
    picture.savefig(path, dpi=120)
    plt.close(picture)
