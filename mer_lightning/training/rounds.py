"""Algorithm 1 on one fold: PNAO's rounds, kept in the run directory with the record and the predictions."""

import copy
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, cast

import lightning as L
import numpy as np
import torch
from numpy.typing import NDArray

from mer_lightning.config.registry import CRITERIA, FUSIONS, NETWORKS, OPTIMIZERS, WEIGHTINGS, of_parts
from mer_lightning.config.schema import Config
from mer_lightning.data.corpus import Corpus
from mer_lightning.data.datamodule import FoldData
from mer_lightning.files.atomic import new_folder
from mer_lightning.files.run_directory import RoundFolder, RunDirectory
from mer_lightning.model.base import count_nodes, count_parameters
from mer_lightning.model.checkpoint import Trained, write_network
from mer_lightning.model.decisions import write_decisions
from mer_lightning.model.module import SCORE, EmotionModule
from mer_lightning.pnao.callback import PNAO
from mer_lightning.pnao.probe import Probe
from mer_lightning.pnao.rule import Rule
from mer_lightning.pnao.store import RoundStore
from mer_lightning.training.calibrate import fit_fusion
from mer_lightning.training.callbacks import make_callbacks
from mer_lightning.training.controls import control_rule, fixed_widths, round_seed
from mer_lightning.training.fit import Progress, fit
from mer_lightning.training.news import Listener
from mer_lightning.training.outcome import predict_part, read_part
from mer_lightning.training.ranks import rank
from mer_lightning.training.revision import after_revision, revise_labels


def train_round(
    config: Config,
    run: RunDirectory,
    corpus: Corpus,
    folds: NDArray[np.int64],
    fold: int,
    device: int | None,
    tell: Listener,
) -> int:
    """Train the fold's next round into the run directory; of the processes that share a fit, rank 0 writes.

    Returns:
        The round's number.
    """
    pnao = FoldRounds(config, run, fold)
    c, batch_size = config.data, config.trainer.batch_size
    data = FoldData(corpus, folds, fold, config.protocol, batch_size, clip=c.clip, balanced=c.balanced)
    L.seed_everything(round_seed(config.seed, fold, 0), verbose=False)
    widths = fixed_widths(config, corpus.levels, fold)
    module = new_module(config, data, widths)
    number = next(pnao.rounds(module))
    data.seed = round_seed(config.seed, fold, number)
    if number:
        L.seed_everything(data.seed, verbose=False)
    revised = min(number, config.revision.rounds)
    if revised:
        everyone = range(int(folds.max()) + 1) if config.revision.choose == "agreed" else [fold]
        before = [read_part(run.round(f, revised - 1), "test", len(corpus.utterances)) for f in everyone]
        revise_labels(data, before, revised, config.revision)
    if number and number == revised:
        pnao.carried = {}
        module = new_module(config, data, widths)
    theirs, folder = make_callbacks(config.callbacks), run.callbacks / f"fold_{fold}_round_{number}"
    if rank():
        L.seed_everything(round_seed(config.seed, fold, number, rank()), verbose=False)  # dropout of its own
    fit(module, config.trainer, data, device, [pnao, Progress(fold, number, tell)], theirs, folder)
    return number


class FoldRounds(PNAO):
    """PNAO on one fold, as configured, with the run directory for its store."""

    def __init__(self, config: Config, run: RunDirectory, fold: int) -> None:
        pnao, guarded = config.pnao, config.pnao.guard == "on"
        still = pnao.control == "scratch"  # nothing is pruned
        super().__init__(
            rate=0.0 if still else pnao.rate,
            rounds=config.last_round,
            alpha=config.loss.alpha,
            monitor=SCORE,
            mode="max",
            criterion=partial(CRITERIA[pnao.criterion], **of_parts(vars(pnao), CRITERIA[pnao.criterion])),
            scale=pnao.scale,
            keep=None if still else pnao.keep,
            min_width=pnao.min_width if guarded else 0,
            max_share=pnao.max_share if guarded else 1.0,
            rewind_epoch=pnao.rewind_epoch,
            optimizer=pnao.optimiser,
            sparse=config.loss.sparse,
        )
        if config.revision.rounds:
            self.rule = after_revision(config, cast(Rule, self.rule))
        if pnao.control in ("random", "shuffled", "one_shot"):
            self.rule = control_rule(config, fold)
        self.store = RoundStore(run.fold(fold), new_folder, verify=False)  # the run looks for damage once
        self.fold = fold
        self.began = time.perf_counter()

    def describe(self, module: L.LightningModule, probe: Probe) -> dict[str, Any]:
        """Beside PNAO's own entries those of ``outcome.Record``."""
        trained = cast(EmotionModule, module)
        return super().describe(module, probe) | {
            "fold": self.fold,
            "parameters": count_parameters(trained.network),
            "nodes": count_nodes(trained.network),
            "macs": trained.network.macs(),
            "epochs": len(trained.history),
            "seconds": time.perf_counter() - self.began,
            "deltas": trained.weighting.deltas.tolist(),
            "history": trained.history,
        }

    def extend(self, folder: Path, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Add the network alone, in single precision and in the labels' units, and its predictions."""
        network = copy.deepcopy(cast(EmotionModule, module).network).cpu().float().eval()
        data = cast(FoldData, trainer.datamodule)  # type: ignore[attr-defined]
        stopping = data.table(torch.device("cpu"))[torch.from_numpy(data.stopping_rows)]
        fit_fusion(network, stopping.features, stopping.emotion)
        network.rescale_valence(*data.valence_scale)
        files = RoundFolder(folder)
        write_network(files.network, Trained(network, data.standardisation))
        parts = {"held_out": data.held_out_rows, "stopping": data.stopping_rows, "test": data.never_held_out}
        for part, rows in parts.items():
            write_decisions(files.decisions(part), predict_part(network, data, rows))


def new_module(config: Config, data: FoldData, widths: Mapping[str, int] | None = None) -> EmotionModule:
    """The network before its first training, with what it is trained by.

    widths: of the groups that are narrow from the start; None: there are none.
    """
    groups = (config.network, config.fusion, config.loss, config.trainer)
    parts = (
        NETWORKS[config.network.kind],
        FUSIONS[config.fusion.kind],
        WEIGHTINGS[config.loss.weighting],
        OPTIMIZERS[config.trainer.optimizer],
    )
    values = {name: value for group in groups for name, value in vars(group).items()}
    names = {"network": config.network.kind, "fusion": config.fusion.kind}
    own = of_parts(values, EmotionModule, *parts) | names
    return EmotionModule.for_data(data, **own, inputs=config.pnao.inputs, widths=widths)
