"""Progressive label revision of unlabelled utterances: the split of that name, else the test sets.

After the published description of AIPL-SEU's system (Li et al., MM 2023): a fusion network labels the
unlabelled utterances, those labels are revised round by round by the class probabilities, and learnt from.
How many are learnt from in which round, and that every round trains a fresh network, is ours. Rounds of
PNAO come after: they prune on the utterances and labels of the last revision.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mer_lightning.config.groups import RevisionConfig
from mer_lightning.config.schema import Config
from mer_lightning.data.corpus import UNLABELLED, Corpus
from mer_lightning.data.datamodule import FoldData
from mer_lightning.errors import UserError
from mer_lightning.model.decisions import RowDecisions
from mer_lightning.pnao.masks import Guarded, Importances
from mer_lightning.pnao.nodes import Nodes
from mer_lightning.pnao.rule import Rule, WholeRule


def flattered(settings: Mapping[str, Any], protocol: str) -> list[str]:
    """A sentence where label revision flatters Train&Val; ``settings`` are those of ``revision``."""
    learnt = settings.get("rounds", 0) and settings.get("share") and settings.get("choose") == "agreed"
    if not learnt or protocol == "fixed":
        return []
    return [
        "revision.choose=agreed: networks that learnt a held-out fold's labels had a say in what its own "
        "network learnt from. This flatters Train&Val, much where labels are few: judge by a test set."
    ]


def check_unlabelled(config: RevisionConfig, corpus: Corpus) -> None:
    """A UserError where there is nothing to revise."""
    if config.rounds and not (len(corpus.rows([UNLABELLED])) or corpus.tests):
        raise UserError(
            "label revision needs an unlabelled set: the split unlabelled, or a test set, named by data.tests"
        )


def most_confident(log_posterior: Tensor, share: float) -> Tensor:
    """Indices of the ``share`` of utterances with the highest class probability, (R, C) -> (n,), sorted."""
    confidence = log_posterior.max(dim=-1).values
    count = round(share * len(confidence))
    return torch.argsort(confidence, descending=True, stable=True)[:count].sort().values


def most_agreed(log_posteriors: Tensor, share: float) -> Tensor:
    """Indices (n,), sorted, of utterances that F networks give the same emotion, (F, R, C) posteriors.

    Of each emotion as many as ``share`` of R gives each, or all that there are: those whose mean posterior is
    highest.
    """
    emotion, mean = log_posteriors[0].argmax(dim=-1), log_posteriors.logsumexp(dim=0)
    agreed = (log_posteriors.argmax(dim=-1) == emotion).all(dim=0)
    each = round(share * mean.shape[0] / mean.shape[1])
    chosen = []
    for c in range(mean.shape[1]):
        rows = (agreed & (emotion == c)).nonzero().flatten()
        chosen.append(rows[torch.argsort(mean[rows, c], descending=True, stable=True)[:each]])
    return torch.cat(chosen).sort().values


def revise_labels(
    data: FoldData, before: Sequence[RowDecisions], number: int, config: RevisionConfig
) -> None:
    """Let round ``number`` learn from unlabelled utterances, with the labels that the round before gave them.

    The share that is learnt from grows from round to round, up to ``config.share``. Of test sets the true
    labels are not looked at, but their features are, which makes the system transductive.

    Args:
        before: the decisions that choose and label, of the fold's own network or of all folds'.
    """
    pool = data.unlabelled_rows if len(data.unlabelled_rows) else data.test_rows
    parts = [part.among(pool) for part in before]
    log_posteriors = torch.stack([part.decision.log_posterior for part in parts])
    share = config.share * number / config.rounds
    if config.choose == "agreed":
        chosen = most_agreed(log_posteriors, share)
    else:
        chosen = most_confident(log_posteriors[0], share)
    data.learn_from(parts[0].rows[chosen].numpy(), log_posteriors[0, chosen].argmax(dim=-1).numpy())


def after_revision(config: Config, rule: Rule) -> WholeRule:
    """``rule`` for the rounds after those of label revision, which keep every node."""
    rounds = config.revision.rounds
    rule = Rule(**vars(rule) | {"rounds": config.pnao.rounds})

    def later(importances: Importances, number: int, module: nn.Module, nodes: Nodes, full: int) -> Guarded:
        """Masks for round ``number``; see ``Rule``."""
        if number > rounds:
            return rule(importances, number - rounds, module, nodes, full)
        return Guarded({group: torch.ones(len(g), dtype=torch.bool) for group, g in importances.items()}, [])

    return later
