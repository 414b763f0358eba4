"""Outer test folds: the runs that test one fold each, read as one run that tested every utterance once."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from mer_lightning.model.decisions import RowDecisions, concatenated
from mer_lightning.report.runs import FinishedRun

OUTER = "outer folds"  # the part that all tests together make


def merged(runs: Sequence[FinishedRun]) -> FinishedRun:
    """The test predictions of all folds' runs as those of one run; every utterance is tested once."""
    rows = [run.rows(next(iter(run.results.test))) for run in runs]

    parts = [(run.decision, torch.from_numpy(r)) for run, r in zip(runs, rows, strict=True)]
    decision = concatenated([RowDecisions(r, d.select(r)) for d, r in parts]).decision
    labels: dict[str, Any] = {
        name: np.concatenate([getattr(run, name)[r] for run, r in zip(runs, rows, strict=True)])
        for name in ("ids", "fold", "group", "emotion", "valence")
    }
    split = np.full(len(labels["ids"]), OUTER)
    return replace(runs[0], split=split, decision=decision, **labels)
