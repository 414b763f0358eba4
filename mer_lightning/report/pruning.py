"""The pictures of what pruning does to a network: its weights, and the width of every group of nodes."""

import numpy as np
import torch
from numpy.typing import NDArray

from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.model.checkpoint import read_network
from mer_lightning.pnao.importance import weights_of
from mer_lightning.report import figures
from mer_lightning.report.figures.weights import near_zero
from mer_lightning.report.pictures import Picture
from mer_lightning.report.runs import FinishedRun
from mer_lightning.training.outcome import read_record

ROUNDS_SHOWN = 11  # of Fig. 4, at most


def weight_values(run: FinishedRun, number: int) -> NDArray[np.float32]:
    """All entries of the prunable weight matrices of fold 0's network after a round, in one row.

    Raises UserError where the network's files are gone or broken.
    """
    network = read_network(RunDirectory(run.path).round(0, number).network).network
    with torch.no_grad():
        groups = weights_of(network, network.node_groups()).values()
        return torch.cat([w.flatten() for weights in groups for w in weights]).numpy()


def fig4(run: FinishedRun) -> Picture:
    """Fig. 4: the weights' values over the rounds of one run."""
    last = len(run.results.rounds) - 1
    shown = sorted({round(r) for r in np.linspace(0, last, min(last + 1, ROUNDS_SHOWN))})
    values = {r: weight_values(run, r) for r in shown}
    first, final = (near_zero(values[r], figures.NEAR_ZERO[0]) for r in (0, last))
    return Picture(
        "fig4_weights",
        "The values of the weights over the rounds",
        f"After Fig. 4 of the paper: {run.experiment}, seed {run.seed}, fold 0, all weight matrices that "
        "can be pruned.",
        f"Left, the density of the weights' values per round; right, the share near zero. Weights below "
        f"{figures.NEAR_ZERO[0]:g}: {first:.1%} in round 0, {final:.1%} in round {last}.",
        lambda: figures.weights_figure(values),
    )


def group_widths(run: FinishedRun) -> figures.Widths:
    """The width of every group in every round, the mean over the folds.

    Raises UserError where a round's record is gone or broken.
    """
    directory, folds = RunDirectory(run.path), range(run.results.folds)
    rounds = range(len(run.results.rounds))
    records = [[read_record(directory.round(fold, r)) for fold in folds] for r in rounds]
    groups = list(records[0][0].widths)
    nodes, share = (
        np.array([[np.mean([getattr(r, kind)[g] for r in by_fold]) for by_fold in records] for g in groups])
        for kind in ("widths", "density")
    )
    return figures.Widths(groups, nodes, share, run.results.best_round)


def widths(run: FinishedRun) -> Picture | None:
    """What was pruned, where and when; None where nothing was."""
    if run.results.rounds[-1].parameters_ratio == 1:
        return None
    found = group_widths(run)
    least, most = int(found.share[:, -1].argmin()), int(found.share[:, -1].argmax())
    return Picture(
        "widths",
        "The width of every group of nodes over the rounds",
        f"{run.experiment}, seed {run.seed}: nodes left of each layer or group of tied layers, mean over "
        f"{run.results.folds} folds. A branch's groups begin with its level's name.",
        f"Of {len(found.groups)} groups, in the last round {found.groups[least]} keeps "
        f"{found.share[least, -1]:.0%} of its nodes and {found.groups[most]} {found.share[most, -1]:.0%}; "
        f"the median is {np.median(found.share[:, -1]):.0%}.",
        lambda: figures.widths_figure(found),
    )
