"""What a run's rounds left behind besides the reported figures: their predictions and their weights."""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.model.checkpoint import read_network
from mer_lightning.pnao.importance import weights_of
from mer_lightning.report.runs import FinishedRun, Floats, Ints
from mer_lightning.results.decisions import mean_over_folds
from mer_lightning.training.outcome import Predictions, read_predictions


def round_predictions(run: FinishedRun, number: int, part: str) -> list[Predictions]:
    """A round's predictions, one per fold; part: ``held_out`` or ``test``.

    Raises UserError where the round's folders are gone or broken.
    """
    folders = [RunDirectory(run.path).round(fold, number) for fold in range(run.results.folds)]
    return [read_predictions(folder, part) for folder in folders]


def at_round(run: FinishedRun, number: int) -> FinishedRun:
    """The same run with the fused predictions of another round. Raises UserError if they are gone."""
    posterior, valence, weights = run.posterior.copy(), run.predicted_valence.copy(), run.weights.copy()
    for p in round_predictions(run, number, "held_out"):
        rows = p.rows.numpy()
        posterior[rows], valence[rows], weights[rows] = p.log_posterior.exp(), p.valence, p.weights
    test = mean_over_folds(round_predictions(run, number, "test"), str(run.config["ensemble"]))
    rows = test.rows.numpy()
    posterior[rows], valence[rows], weights[rows] = test.posterior, test.valence, test.weights
    predicted = posterior.argmax(axis=1)
    return replace(run, posterior=posterior, predicted=predicted, predicted_valence=valence, weights=weights)


def branch_posteriors(run: FinishedRun) -> tuple[Floats, Ints]:
    """Out-of-fold posteriors of each branch in the reported round, (N, M, C), and their rows (N,).

    Raises UserError where the round's folders are gone.
    """
    parts = round_predictions(run, run.results.best_round, "held_out")
    rows = np.concatenate([p.rows.numpy() for p in parts])
    return np.concatenate([p.branch_log_posteriors.double().exp().numpy() for p in parts]), rows


def weight_values(run: FinishedRun, number: int) -> NDArray[np.float32]:
    """All entries of the prunable weight matrices of fold 0's network after a round, in one row.

    Raises UserError where the network's files are gone or broken.
    """
    network = read_network(RunDirectory(run.path).round(0, number).network).network
    with torch.no_grad():
        return torch.cat(
            [w.flatten() for ws in weights_of(network, network.node_groups()).values() for w in ws]
        ).numpy()
