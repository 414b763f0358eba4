"""What is measured on: the configuration, data and networks of the main job, made once."""

import copy
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from itertools import pairwise

import lightning as L
import numpy as np
import torch
from hydra import compose, initialize_config_dir

from mer_lightning.config.compose import checked, conf_folder, register
from mer_lightning.config.schema import Config
from mer_lightning.data.corpus import Corpus, Utterance
from mer_lightning.data.datamodule import FoldData
from mer_lightning.data.folds import draw_folds
from mer_lightning.data.readers.synthetic import make_synthetic
from mer_lightning.model.base import EmotionNetwork
from mer_lightning.model.module import SCORE, EmotionModule
from mer_lightning.pnao import PNAO, weight_importance
from mer_lightning.pnao.compact import masked_state
from mer_lightning.pnao.masks import top_k_masks
from mer_lightning.training import rounds
from mer_lightning.training.fit import fit

CPU = torch.device("cpu")
EMOTIONS = ("angry", "happy", "sad")


def settings(*overrides: str) -> Config:
    """The main job's configuration, with overrides; on the CPU, all epochs trained."""
    register()
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        main_job = ["+experiment=pnao", "trainer.accelerator=cpu", "trainer.patience=1000"]
        return checked(compose("config", [*main_job, *overrides]))


@cache
def corpus(size: str) -> Corpus:
    """The synthetic corpus; ``full``: 3373 + 411 utterances, 3 levels of 1024, shared 1024 and 2048."""
    return make_synthetic(size, seed=0)


def fold_data(config: Config) -> FoldData:
    """Fold 0 of the configuration's corpus."""
    data = corpus(config.data.size)
    folds = draw_folds(data, config.data.folds, config.seed)
    return FoldData(data, folds, 0, config.protocol, config.trainer.batch_size, config.seed)


def new_module(config: Config, data: FoldData) -> EmotionModule:
    """The full network of round 0, before training."""
    torch.manual_seed(config.seed)
    return rounds.new_module(config, data)


def thinning(network: EmotionNetwork, share: float) -> dict[str, torch.Tensor]:
    """Masks that keep that share of every group's nodes, the most important ones."""
    importances = weight_importance(network, network.node_groups())
    return top_k_masks(importances, {g: round(share * len(x)) for g, x in importances.items()})


def masked(network: EmotionNetwork, masks: Mapping[str, torch.Tensor]) -> EmotionNetwork:
    """A copy of full width in which the masked nodes' weights and biases are zero."""
    full = copy.deepcopy(network)
    full.load_state_dict(masked_state(network, network.node_groups(), masks))
    return full


class EpochClock(L.Callback):
    """Stamps the start of every epoch, and the end of the last."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.stamps: list[float] = []

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """What comes between two stamps is all that an epoch costs, checkpoint and callbacks included."""
        self.stamps.append(self.clock())

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The last epoch ends."""
        self.stamps.append(self.clock())


def epoch_of_ours(
    config: Config,
    module: EmotionModule,
    data: FoldData,
    epochs: int,
    clock: Callable[[], float] = time.process_time,
) -> float:
    """Seconds for an epoch of the program's own ``fit``: the mean of all but the first."""
    watch = EpochClock(clock)
    pnao = PNAO(rounds=0, alpha=config.loss.alpha, monitor=SCORE, mode="max")
    next(pnao.rounds(module))
    fit(module, replace(config.trainer, epochs=epochs), data, None, [watch, pnao])
    seconds = [after - before for before, after in pairwise(watch.stamps)][1:]
    return sum(seconds) / len(seconds)


def noise_corpus(n: int, levels: Mapping[str, int], shared: Mapping[str, int]) -> Corpus:
    """A corpus of ``n`` utterances whose features are noise, for curves over sizes; name -> dimension."""
    rng = np.random.default_rng(0)
    emotion, valence = rng.integers(len(EMOTIONS), size=n).tolist(), rng.normal(size=n).tolist()
    return Corpus(
        name="noise",
        utterances=tuple(
            Utterance(f"u{i}", EMOTIONS[e], v) for i, (e, v) in enumerate(zip(emotion, valence, strict=True))
        ),
        features={
            name: rng.standard_normal((n, d), dtype=np.float32) for name, d in {**levels, **shared}.items()
        },
        levels=tuple(levels),
        shared=tuple(shared),
        classes=EMOTIONS,
        synthetic=True,
    )
