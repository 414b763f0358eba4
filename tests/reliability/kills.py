"""``kill -9`` at random moments, the same command again until the run is done: is it as if undisturbed?

    python -m tests.reliability.kills --count 50 --seed 0

Half of the kills come at any moment, half while something is being written: when a file or folder with a
temporary name has just appeared in the run directory.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from mer_lightning.files.atomic import UNFINISHED
from mer_lightning.files.run_directory import RunDirectory

RUN = ["+experiment=pnao", "data.folds=2", "pnao.rounds=3", "trainer.epochs=4", "network.dimension=16"]
RUN += ["pnao.optimiser=carry", "pnao.rate=0.2", "pnao.min_width=2"]
TIMES = ("seconds",)


class Survived(NamedTuple):
    """How often a run was killed, and where it was then."""

    kills: int
    while_writing: int
    runs: int
    differences: list[str]


def start(folder: Path, workers: int) -> subprocess.Popen[bytes]:
    """The command, which begins the run or goes on with it."""
    command = [
        sys.executable,
        "-m",
        "mer_lightning",
        *RUN,
        f"folds.workers={workers}",
        f"hydra.run.dir={folder}",
    ]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def finish(folder: Path, workers: int) -> float:
    """Seconds of a run that nobody disturbs."""
    began = time.monotonic()
    process = start(folder, workers)
    _, errors = process.communicate()
    if process.returncode:
        raise RuntimeError(errors.decode())
    return time.monotonic() - began


def being_written(folder: Path) -> Iterator[str]:
    """Temporary names in a run directory."""
    for pattern in (f".*{UNFINISHED}", f"fold_*/.*{UNFINISHED}"):
        yield from (str(path) for path in folder.glob(pattern))


def kill_once(
    folder: Path, workers: int, seconds: float, writing: bool, chance: random.Random
) -> bool | None:
    """Start, and kill after a random part of ``seconds``, or when something is written.

    Returns:
        Whether something was being written; None if the run was done before.
    """
    process = start(folder, workers)
    limit = time.monotonic() + chance.uniform(0, seconds)
    skip = chance.randrange(6)  # so that not always the first thing written is hit
    seen: set[str] = set()
    while process.poll() is None:
        names = set(being_written(folder))
        seen |= names
        if (writing and names and len(seen) > skip) or (not writing and time.monotonic() > limit):
            process.kill()
            process.wait()
            return bool(names)
        time.sleep(0.0005)
    if process.returncode:
        raise RuntimeError(process.stderr.read().decode() if process.stderr else "")
    return None


def contents(folder: Path) -> dict[str, Any]:
    """What a finished run says, times left out: scores, predictions, folds, and every weight."""
    run = RunDirectory(folder)
    found: dict[str, Any] = {"results.json": timeless(json.loads(run.results.read_text()))}
    for path in [
        run.predictions,
        run.decisions,
        run.folds,
        *sorted(run.model.iterdir()),
        *sorted(folder.glob("fold_*/*/*.safetensors")),
    ]:
        found[str(path.relative_to(folder))] = path.read_bytes()
    for path in sorted(folder.glob("fold_*/*/round.json")):
        found[str(path.relative_to(folder))] = timeless(json.loads(path.read_text()))
    return found


def timeless(value: Any) -> Any:
    """Without seconds, at any depth."""
    if isinstance(value, dict):
        return {k: timeless(v) for k, v in value.items() if k not in TIMES}
    return [timeless(v) for v in value] if isinstance(value, list) else value


def survive(folder: Path, count: int, seed: int, workers: int = 2) -> Survived:
    """Kill at least ``count`` times, over as many runs as it takes; compare each with one undisturbed."""
    chance = random.Random(seed)
    seconds = finish(folder / "undisturbed", workers)
    expected = contents(folder / "undisturbed")
    kills, while_writing, runs, differences = 0, 0, 0, []
    while kills < count:
        run = folder / f"killed_{runs}"
        while (hit := kill_once(run, workers, seconds, kills % 2 == 1, chance)) is not None:
            kills, while_writing = kills + 1, while_writing + hit
        runs += 1
        found = contents(run)
        differences += [
            f"{run.name}/{name}"
            for name in sorted({*found, *expected})
            if found.get(name) != expected.get(name)
        ]
        differences += [f"{run.name}: {name} is left" for name in being_written(run)]
    return Survived(kills, while_writing, runs, differences)


def main() -> None:
    """Print what was survived; status 1 if anything differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        survived = survive(Path(folder), given.count, given.seed, given.workers)
    print(
        f"{survived.kills} kills, {survived.while_writing} of them while something was written, over "
        f"{survived.runs} runs: {len(survived.differences)} differences"
    )
    for difference in survived.differences:
        print(difference)
    sys.exit(bool(survived.differences))


if __name__ == "__main__":
    main()
