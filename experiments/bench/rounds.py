"""What PNAO itself costs in a round, and what it saves in the rounds after."""

import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from experiments.bench.measure import Figure, Scale, interleaved, medians, ratio, spread, stopwatch
from experiments.bench.setting import corpus, epoch_of_ours, fold_data, new_module, settings, thinning
from mer_lightning.data.folds import draw_folds
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.model.base import EmotionNetwork, count_parameters
from mer_lightning.model.module import EmotionModule
from mer_lightning.pnao import PNAO, compact
from mer_lightning.pnao.early_stop import EarlyStopPoint
from mer_lightning.pnao.store import RoundStore
from mer_lightning.training import crossval, rounds

EPOCHS = 30  # of a round of the main job
WIDTHS = (1.0, 0.8, 0.6, 0.4)  # share of every group's nodes in rounds 0 to 3
LEARN = "importance, masks and the check that the outputs are the same"
PRUNE = "the removal"
SIZES = "sizes"
FILES = "files of the round"
PREDICTIONS = "predictions"
CHECKPOINT = "copies at each better epoch"
FIT = "the fit"
PARTS = {  # what is timed within a round: owner, name
    LEARN: (PNAO, "learn"),
    PRUNE: (PNAO, "prune"),
    SIZES: (rounds.FoldRounds, "describe"),
    FILES: (RoundStore, "write"),
    PREDICTIONS: (rounds, "predict_part"),
    CHECKPOINT: (EarlyStopPoint, "look"),
    FIT: (rounds, "fit"),
    "the data of the fold": (rounds, "FoldData"),
}
PRUNING = (LEARN, PRUNE, SIZES, FILES, CHECKPOINT)


def prune_share(scale: Scale) -> list[Figure]:
    """Importance, masks, compaction and checkpointing in a round of 30 epochs, as the run does them.

    Fewer epochs are trained: the time of a round is that of its fixed parts and of 30 times the mean epoch,
    and as many of the 30 keep a copy as of those trained. Data are read once for all rounds.
    """
    config = settings(f"data.size={scale.size}", "pnao.rounds=2", f"trainer.epochs={scale.epochs}")
    data = corpus(config.data.size)
    folds = draw_folds(data, config.data.folds, config.seed)
    shares, details = [], {}
    for _ in range(scale.few):
        with tempfile.TemporaryDirectory() as folder, ExitStack() as watching:
            worker = crossval.FoldWorker(config, RunDirectory(Path(folder)), data, folds, lambda news: None)
            worker.train(0, 0)
            seen = {what: watching.enter_context(stopwatch(*place)) for what, place in PARTS.items()}
            began = time.process_time()
            worker.train(0, 1)
            whole = time.process_time() - began
        seconds = {what: sum(parts) for what, parts in seen.items()}
        longer = EPOCHS / scale.epochs
        epochs = seconds[FIT] - seconds[LEARN] - seconds[SIZES] - seconds[FILES]
        seconds["a round of 30 epochs"] = whole + (longer - 1) * epochs
        seconds[FILES] -= seconds[PREDICTIONS]
        seconds[CHECKPOINT] *= longer
        shares.append(sum(seconds[what] for what in PRUNING) / seconds["a round of 30 epochs"])
        details = {"seconds": {what: round(s, 4) for what, s in seconds.items()}}
    return [Figure("prune_share", spread(shares), 0.01, details=details)]


def round_time_ratio(scale: Scale) -> list[Figure]:
    """Seconds per epoch of rounds 1 to 3 over round 0, where each keeps fewer of all groups' nodes.

    The widths are set, not learnt: a trained network loses as many only after hundreds of epochs. The goal of
    each round is to be quicker than the one before.
    """
    config = settings(f"data.size={scale.size}")
    data = fold_data(config)
    full = new_module(config, data).network

    def with_network(network: EmotionNetwork) -> EmotionModule:
        module = new_module(config, data)
        module.network = network
        return module

    networks = {str(i): compact(full, thinning(full, share)) for i, share in enumerate(WIDTHS)}
    times = interleaved(
        {
            number: lambda network=network: epoch_of_ours(config, with_network(network), data, 2)
            for number, network in networks.items()
        },
        scale.few,
        warmup=0,
    )
    figures, before = [], 1.0
    for number, network in list(networks.items())[1:]:
        against_first = ratio(times[number], times["0"])
        details = {
            "seconds per epoch": medians(times)[number],
            "macs over round 0's": round(network.macs() / full.macs(), 3),
            "parameters over round 0's": round(count_parameters(network) / count_parameters(full), 3),
        }
        figures.append(Figure(f"round_time_ratio.{number}", against_first, before, details=details))
        before = against_first.value
    return figures
