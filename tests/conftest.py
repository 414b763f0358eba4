"""Small data that every test may train on, and the configuration as the command line composes it."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir

from mer_lightning.__main__ import spelled_out
from mer_lightning.config.compose import checked, conf_folder, register
from mer_lightning.config.schema import Config

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
EMOTIONS = ("angry", "happy", "sad")
SMALL = (
    "network.dimension=8",
    "trainer.epochs=3",
    "trainer.learning_rate=0.01",
    "pnao.rounds=2",
    "pnao.rate=0.5",
    "pnao.min_width=2",
    "folds.workers=1",
)


def composed(*overrides: str) -> Config:
    """The checked configuration of ``python -m mer_lightning OVERRIDES``."""
    given = [spelled_out(override) for override in overrides]
    register(given)
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        return checked(compose("config", given))


def write_folder(root: Path, n: int = 60, seed: int = 0, speakers: int = 12) -> Path:
    """A feature folder: levels ``low``, ``high``, shared set ``face``; splits train and test."""
    rng = np.random.default_rng(seed)
    root.mkdir(parents=True, exist_ok=True)
    emotion = rng.integers(0, 3, n)
    valence = np.array([-2.0, 2.0, -1.0])[emotion] + rng.normal(0, 0.5, n)
    for name, width in (("low", 6), ("high", 5), ("face", 4)):
        signal = rng.normal(0, 1, (3, width))[emotion]
        np.save(root / f"{name}.npy", (signal + rng.normal(0, 0.7, (n, width))).astype(np.float32))
    with (root / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["utterance_id", "emotion", "valence", "split", "speaker"])
        for i in range(n):
            known = "" if i % 10 == 3 else f"{valence[i]:.3f}"
            split = "test" if i % 6 == 5 else "train"
            writer.writerow([f"u{i:03d}", EMOTIONS[emotion[i]], known, split, f"s{i % speakers}"])
    return root


def folder_overrides(root: Path) -> tuple[str, ...]:
    """Overrides that read ``write_folder``'s folder in two folds."""
    return (
        "data=folder",
        f"data.root={root}",
        "data.levels=[low,high]",
        "data.shared=[face]",
        "data.folds=2",
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small feature folder."""
    return write_folder(tmp_path / "data")


@pytest.fixture
def small(folder: Path) -> Callable[..., Config]:
    """``small(OVERRIDES)``: a configuration that trains on the small folder in a second."""
    return lambda *overrides: composed(*folder_overrides(folder), *SMALL, *overrides)
