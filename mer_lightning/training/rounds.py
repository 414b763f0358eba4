"""Algorithm 1: one round of PNAO, from the network of the round before to the next one."""

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import lightning as L
import numpy as np
import torch
from torch import Tensor

from mer_lightning.config.groups import PnaoConfig
from mer_lightning.config.schema import Config
from mer_lightning.data.datamodule import FoldData
from mer_lightning.files.atomic import new_folder
from mer_lightning.files.run_directory import RoundFolder, RunDirectory
from mer_lightning.model.base import Architecture, EmotionNetwork, count_nodes, count_parameters
from mer_lightning.model.build import build
from mer_lightning.model.checkpoint import Trained, read_network
from mer_lightning.model.losses import UncertaintyWeighting
from mer_lightning.model.module import EmotionModule
from mer_lightning.pnao.callback import SparseTraining
from mer_lightning.pnao.compact import compact, kept_in, masked, take
from mer_lightning.pnao.importance import group_importances
from mer_lightning.pnao.masks import (
    Guarded,
    emptied_layers,
    global_masks,
    guard_masks,
    quota_masks,
    random_masks,
)
from mer_lightning.training.fit import Moments, Progress, fit
from mer_lightning.training.outcome import (
    Outcome,
    Record,
    predict_part,
    read_part,
    read_training_state,
)
from mer_lightning.training.ranks import rank
from mer_lightning.training.revision import revise_labels

Report = Callable[[int, float], None]  # epoch, validation score
PROBE = 64  # utterances on which the narrowed network is compared with the masked one


@dataclass(frozen=True)
class Start:
    """What a fit starts from: a network, the d of the loss, the optimiser's moments, and why so."""

    network: EmotionNetwork
    weighting: UncertaintyWeighting
    moments: Moments
    notes: list[str]
    compact_error: float = 0.0


def run_round(
    config: Config,
    run: RunDirectory,
    data: FoldData,
    fold: int,
    number: int,
    device: int | None,
    report: Report,
) -> None:
    """Round ``number`` of Algorithm 1 on one fold, written to the run directory when it is whole.

    Of the processes that share a fit, rank 0 writes.
    """
    began = time.perf_counter()
    L.seed_everything(round_seed(config.seed, fold, number), verbose=False)
    start = start_of(config, run, data, fold, number)
    rewind = config.pnao.rewind_epoch if number else 0
    module = EmotionModule(start.network, start.weighting, config.loss, config.trainer, rewind, start.moments)
    epochs, sparse = config.trainer.epochs - rewind, SparseTraining(config.loss.alpha)
    carry = config.pnao.optimiser == "carry"
    if rank():
        L.seed_everything(round_seed(config.seed, fold, number, rank()), verbose=False)  # dropout of its own
        fit(module, data, epochs, device, [sparse])
        return
    with new_folder(run.round(fold, number).path) as folder:
        moments = fit(module, data, epochs, device, [sparse, Progress(report)], carry)
        network = module.network.cpu().float().eval()  # decisions are in single precision, as when loaded
        Outcome(
            record_of(module, start, fold, number, time.perf_counter() - began),
            Trained(network, data.standardisation),
            {"log_deltas": start.weighting.log_deltas.detach().cpu()} | moments,
            held_out=predict_part(network, data, data.held_out_rows),
            stopping=predict_part(network, data, data.stopping_rows),
            test=predict_part(network, data, data.test_rows),
        ).write(RoundFolder(folder))


def record_of(module: EmotionModule, start: Start, fold: int, number: int, seconds: float) -> Record:
    """The numbers of a round that is trained; ``seconds`` it took."""
    network = module.network
    return Record(
        fold=fold,
        round=number,
        parameters=count_parameters(network),
        nodes=count_nodes(network),
        macs=network.macs(),
        epochs=len(module.history),
        seconds=seconds,
        compact_error=start.compact_error,
        deltas=start.weighting.deltas.tolist(),
        notes=start.notes,
        history=module.history,
    )


def start_of(config: Config, run: RunDirectory, data: FoldData, fold: int, number: int) -> Start:
    """The full network in round 0 or for labels revised in ``data``; else the round before's, pruned."""
    if number and not config.revision.rounds:
        return pruned(config, run, data, fold, number)
    if number:
        before = read_part(run.round(fold, number - 1), "test", len(data.corpus.utterances))
        revise_labels(data, before, number, config.revision)
    return initial(config, data)


def initial(config: Config, data: FoldData) -> Start:
    """Line 1: the full network before its first training."""
    corpus, n, f = data.corpus, config.network, config.fusion
    dimensions = corpus.dimensions
    architecture = Architecture(
        levels={name: dimensions[name] for name in corpus.levels},
        shared={name: dimensions[name] for name in corpus.shared},
        classes=len(corpus.classes),
        kind=n.kind,
        layers=n.layers,
        heads=n.heads,
        dimension=n.dimension,
        dropout=n.dropout,
        softmax=n.softmax,
        fusion=f.kind,
        fusion_weights=tuple(f.weights),
    )
    return Start(build(architecture), UncertaintyWeighting(config.loss.weighting), {}, [])


def pruned(config: Config, run: RunDirectory, data: FoldData, fold: int, number: int) -> Start:
    """Lines 3 and 4: learn the mask on the round before, and remove its nodes."""
    previous = run.round(fold, number - 1)
    network = read_network(previous.network).network
    masks, notes = learn_masks(network, config, fold, number)
    narrow = compact(network, masks)
    state = read_training_state(previous)
    weighting = UncertaintyWeighting(config.loss.weighting)
    weighting.log_deltas = torch.nn.Parameter(state.pop("log_deltas"))
    kept = kept_in(network, masks)
    moments = {
        key: take(tensor, kept[layer])
        if (layer := key.partition("/")[2].rpartition(".")[0]) in kept
        else tensor
        for key, tensor in state.items()
    }
    probe = data.table(torch.device("cpu"))[torch.from_numpy(data.stopping_rows[:PROBE])].features
    return Start(narrow, weighting, moments, notes, difference(masked(network, masks), narrow, probe))


def learn_masks(network: EmotionNetwork, config: Config, fold: int, number: int) -> Guarded:
    """Line 3: Eq. 10 and 11 with their guards, or a control's masks."""
    pnao = config.pnao
    importances = group_importances(network)
    if pnao.control != "none":
        keep = reference_widths(pnao, network, fold, number)
        if pnao.control == "one_shot":
            return Guarded(quota_masks(importances, keep), [])
        return Guarded(random_masks(importances, keep, round_seed(config.seed, fold, number)), [])
    masks = global_masks(importances, pnao.rate)
    if pnao.guard == "none":
        return Guarded(masks, emptied_layers(masks))
    return guard_masks(masks, importances, pnao.min_width, pnao.max_share)


def reference_widths(pnao: PnaoConfig, network: EmotionNetwork, fold: int, number: int) -> dict[str, int]:
    """Widths of the PNAO run that a control matches: ``random`` after the same round, ``one_shot`` of
    the round which that run chose."""
    reference = RunDirectory(Path(str(pnao.like)))
    if pnao.control == "one_shot":
        number = reference.best_round()
    widths = read_network(reference.round(fold, number).network).network.node_groups()
    return {group.name: group.width for group in widths}


def round_seed(seed: int, fold: int, number: int, *rank: int) -> int:
    """A seed of its own for every fit, so that a continued run equals an undisturbed one."""
    return int(np.random.SeedSequence([seed, fold, number, *rank]).generate_state(1)[0])


@torch.no_grad()
def difference(one: EmotionNetwork, other: EmotionNetwork, features: dict[str, Tensor]) -> float:
    """Largest absolute difference of two networks' posteriors and valences.

    In double precision: what is asked is whether they are the same function, not how float32 rounds sums of
    different lengths (up to about 2e-6 of a valence).
    """
    exact = {name: x.double() for name, x in features.items()}
    a, b = (copy.deepcopy(network).double().eval()(exact) for network in (one, other))
    posterior = (a.log_posterior.exp() - b.log_posterior.exp()).abs().max()
    return float(torch.maximum(posterior, (a.valence - b.valence).abs().max()))
