"""Round 0, which is the same for all runs that begin alike: trained once, then taken from each other.

What a sweep over the pruning varies acts after it, and a control begins as the PNAO run that it matches.
"""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError

from mer_lightning.config.identity import beginning
from mer_lightning.config.schema import Config
from mer_lightning.data.corpus import Corpus
from mer_lightning.data.datamodule import FoldData
from mer_lightning.data.folds import read_folds
from mer_lightning.errors import UserError
from mer_lightning.files.checksums import is_whole
from mer_lightning.files.run_directory import RoundFolder, RunDirectory
from mer_lightning.pnao.nodes import declared
from mer_lightning.pnao.probe import Probe
from mer_lightning.pnao.store import CHECKSUMS, Round, RoundStore, load_state
from mer_lightning.training.controls import fixed_widths, round_seed
from mer_lightning.training.devices import gpus, world
from mer_lightning.training.fit import make_trainer
from mer_lightning.training.outcome import read_record
from mer_lightning.training.rounds import FoldRounds, new_module

NETWORK = ("network.json", *(f"{part}.safetensors" for part in ("network", "held_out", "stopping", "test")))


def take_round_0(
    config: Config,
    run: RunDirectory,
    corpus: Corpus,
    folds: NDArray[np.int64],
    others: Sequence[RunDirectory],
) -> list[str]:
    """Copy round 0 of the folds that lack it from ``others``, where these began alike; say which, in a line.

    The masks of round 1 are learnt anew. That takes a criterion of weights alone; and nothing else may watch
    the fit, or share it.
    """
    lacking = [f for f in range(int(folds.max()) + 1) if not run.round(f, 0).done]
    alone = config.pnao.criterion == "weight" and not config.callbacks and world(config.trainer) == 1
    if not alone or config.pnao.control == "scratch":
        return []
    notes = []
    for other in others:
        if not lacking:
            break
        if not _began_alike(config, other, corpus, folds):
            continue
        taken = [fold for fold in lacking if _take(config, run, corpus, folds, fold, other)]
        lacking = [fold for fold in lacking if fold not in taken]
        if taken:
            where = f"fold {', '.join(map(str, taken))}"
            notes.append(f"round 0 is the same in {other.path.name} and taken from there ({where})")
    return notes


def _began_alike(config: Config, other: RunDirectory, corpus: Corpus, folds: NDArray[np.int64]) -> bool:
    """Whether another run's round 0 is this one's; one that cannot be read is no concern of this run."""
    try:
        saved = other.read_config()
        same = beginning(saved) == beginning(config) and other.read_fingerprint() == corpus.fingerprint
        return same and np.array_equal(read_folds(other.folds, corpus), folds)
    except (UserError, KeyError):
        return False


def _take(
    config: Config,
    run: RunDirectory,
    corpus: Corpus,
    folds: NDArray[np.int64],
    fold: int,
    other: RunDirectory,
) -> bool:
    """Whether a fold's round 0 could be had: it is there, and whole."""
    there, pnao, data = other.round(fold, 0), FoldRounds(config, run, fold), config.data
    saved = _read(there) if there.done else None
    if saved is None:
        return False
    rows = FoldData(
        corpus, folds, fold, config.protocol, config.trainer.batch_size,
        seed=round_seed(config.seed, fold, 0), clip=data.clip, balanced=data.balanced,
    )  # fmt: skip
    module = new_module(config, rows, fixed_widths(config, corpus.levels, fold))
    here = gpus(config.trainer.accelerator)
    trainer = make_trainer(config.trainer, fold % here if here else None, [], None, None)  # trains nothing
    torch.set_num_threads(config.trainer.threads)
    rows.trainer, precision = trainer, trainer.precision_plugin
    load_state(precision.convert_module(module).to(trainer.strategy.root_device), saved.module)
    pnao.nodes, pnao.history = declared(module, None), [saved.record]
    saved = replace(saved, masks={}, following={})
    if pnao.last:
        batch = next(iter(rows.train_dataloader()))  # the first that a fit would see
        probe = Probe(trainer, module, precision.convert_input(batch))
        masks, following = pnao.learn(trainer, module, probe)
        saved = replace(saved, masks=masks, following=following)
    try:
        pnao.store.write(0, saved, lambda folder: _copy(there, folder))
    except FileNotFoundError:  # it is just being replaced, or damaged
        return False
    return True


def _read(there: RoundFolder) -> Round | None:
    """A round; None where it is damaged, or just being replaced."""
    try:
        read_record(there)
        return RoundStore(there.path.parent).read(0)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError, UserError):
        return None


def _copy(there: RoundFolder, folder: Path) -> None:
    """The network alone and its predictions, as they are there. FileNotFoundError where one is damaged."""
    shutil.copyfile(there.checksums, folder / CHECKSUMS)
    for name in NETWORK:
        shutil.copyfile(there.path / name, folder / name)
        if not is_whole(folder / name):
            raise FileNotFoundError(f"{there.path / name} is damaged")
