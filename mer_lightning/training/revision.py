"""Progressive label revision of the unlabelled set, transductive.

After the published description of AIPL-SEU's system (Li et al., MM 2023): a fusion network labels the
unlabelled utterances, those labels are revised round by round by the class probabilities, and learnt from.
How many are learnt from in which round, and that every round trains a fresh network, is ours.
"""

import torch
from torch import Tensor

from mer_lightning.config.groups import RevisionConfig
from mer_lightning.data.datamodule import FoldData
from mer_lightning.errors import UserError
from mer_lightning.model.decisions import RowDecisions


def most_confident(log_posterior: Tensor, share: float) -> Tensor:
    """Indices of the ``share`` of utterances with the highest class probability, (R, C) -> (n,), sorted."""
    confidence = log_posterior.max(dim=-1).values
    count = round(share * len(confidence))
    return torch.argsort(confidence, descending=True, stable=True)[:count].sort().values


def revise_labels(data: FoldData, before: RowDecisions, number: int, config: RevisionConfig) -> None:
    """Let round ``number`` learn from the test sets, with the labels that the round before gave them.

    The share that is learnt from grows from round to round, up to ``config.share``. The true labels of the
    test sets are not looked at; their features are, which makes the system transductive.
    """
    if not len(before.rows):
        raise UserError("label revision needs an unlabelled set: name a test set with data.tests")
    log_posterior = before.decision.log_posterior
    chosen = most_confident(log_posterior, config.share * number / config.rounds)
    data.learn_from(before.rows[chosen].numpy(), log_posterior[chosen].argmax(dim=-1).numpy())
