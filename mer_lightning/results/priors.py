"""The priors of the emotions: those of training, those of ``priors=``, and decisions under these."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from mer_lightning.config.schema import Config
from mer_lightning.data.corpus import TRAIN_SPLITS, Corpus
from mer_lightning.errors import UserError
from mer_lightning.files.recorded import Results
from mer_lightning.model.decisions import RowDecisions
from mer_lightning.model.priors import estimated_priors, with_priors
from mer_lightning.results.predictor import Predictor

Priors = str | Mapping[str, float]  # ``em``, or emotion -> prior


def training_priors(config: Config, corpus: Corpus) -> Tensor:
    """(C,) how frequent the emotions are in training, as the loss or the sampling counts them."""
    emotion = corpus.emotions[corpus.rows(("train",) if config.protocol == "fixed" else TRAIN_SPLITS)]
    counts = np.bincount(emotion[emotion >= 0], minlength=len(corpus.classes))
    if config.data.balanced or config.loss.class_weights == "balanced":
        counts = (counts > 0).astype(np.int64)
    return torch.from_numpy(counts / counts.sum())


def resolved(priors: Priors, classes: Sequence[str], log_posterior: Tensor, trained: Tensor) -> Tensor:
    """(C,) the priors of ``priors=``, which sum to 1; ``em``: estimated from (B, C) posteriors.

    Raises UserError unless exactly the classes are named.
    """
    check_named(priors, classes)
    if isinstance(priors, str):
        return estimated_priors(log_posterior, trained)
    given = torch.tensor([float(priors[name]) for name in classes], dtype=torch.float64)
    return given / given.sum()


def check_named(priors: Priors | None, classes: Sequence[str]) -> None:
    """A UserError for priors that name other emotions than exactly the classes."""
    if isinstance(priors, Mapping) and (wrong := sorted(set(classes) ^ set(priors))):
        raise UserError(
            f"priors: {wrong[0]!r}: expected a number for each of {', '.join(classes)}, no others"
        )


def told(priors: Mapping[str, float]) -> str:
    """``angry 0.200, happy 0.800``."""
    return ", ".join(f"{name} {share:.3f}" for name, share in priors.items())


def said(predictor: Predictor) -> str:
    """A sentence on the priors that a predictor decides under."""
    pairs = (
        dict(zip(predictor.classes, p, strict=True)) for p in (predictor.priors, predictor.trained_priors)
    )
    here, there = map(told, pairs)
    return f"Posteriors are for the priors {here} (in training: {there})."


def of_test_sets(results: Results) -> list[str]:
    """A sentence on each test set whose posteriors ``priors=`` changed."""
    return [
        f"Posteriors on {split} are for the priors {told(priors)}, set by priors= and not those of training."
        for split, priors in results.priors.items()
    ]


def under_priors(
    config: Config, corpus: Corpus, test: RowDecisions
) -> tuple[RowDecisions, dict[str, dict[str, float]]]:
    """Decisions with those on each test set under ``config.priors``; and test set -> emotion -> prior."""
    trained, log_posterior = training_priors(config, corpus), test.decision.log_posterior.clone()
    used = {}
    for name in corpus.tests if config.priors else ():
        here = torch.isin(test.rows, torch.from_numpy(corpus.rows([name])))
        priors = resolved(config.priors, corpus.classes, log_posterior[here], trained)
        log_posterior[here] = with_priors(log_posterior[here], trained, priors)
        used[name] = dict(zip(corpus.classes, priors.tolist(), strict=True))
    return RowDecisions(test.rows, test.decision._replace(log_posterior=log_posterior)), used
