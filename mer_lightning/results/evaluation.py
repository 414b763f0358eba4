"""A trained model on labelled data of another set: its classes mapped, its decisions, its scores."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from mer_lightning.data.corpus import UNLABELLED, Corpus
from mer_lightning.errors import UserError
from mer_lightning.files.recorded import AllScores
from mer_lightning.model.decisions import RowDecisions, concatenated
from mer_lightning.results.predictor import Predictor
from mer_lightning.results.scoring import all_scores

BLOCK = 4096  # utterances decided on at a time


@dataclass(frozen=True)
class Evaluation:
    """Decisions on all N utterances of a corpus that has the model's classes, and their scores."""

    corpus: Corpus
    decisions: RowDecisions
    whole: AllScores
    by_split: dict[str, AllScores]
    by_group: dict[str, AllScores]  # speakers or the like; empty where they are not known
    unmapped: dict[str, int]  # emotion of the labels that the model does not know -> utterances, not scored


def evaluate(predictor: Predictor, corpus: Corpus, emotions: Mapping[str, str]) -> Evaluation:
    """Scores of a model's decisions against a corpus's labels.

    Args:
        emotions: an emotion of the labels -> one of the model's; those of the same name need no entry.

    Raises:
        UserError: an entry names what is not there, or no utterance has an emotion that the model knows.
    """
    mapped, unmapped = with_classes(corpus, predictor.classes, emotions)
    if not predictor.has_valence:  # what it says of valence means nothing
        mapped = replace(mapped, utterances=tuple(u._replace(valence=math.nan) for u in mapped.utterances))
    decisions = decide(predictor, mapped)
    constant = math.nan  # the training part's mean is not known here, so there is no skill

    def scored(rows: list[int]) -> AllScores:
        return all_scores(decisions.among(np.array(rows)), mapped, constant)

    splits, groups = dict[str, list[int]](), dict[str, list[int]]()
    for row, u in enumerate(mapped.utterances):
        if u.split != UNLABELLED:
            splits.setdefault(u.split, []).append(row)
        if u.group:
            groups.setdefault(u.group, []).append(row)
    return Evaluation(
        mapped,
        decisions,
        whole=all_scores(decisions, mapped, constant),
        by_split={name: scored(rows) for name, rows in sorted(splits.items())},
        by_group={name: scored(rows) for name, rows in sorted(groups.items())},
        unmapped=unmapped,
    )


def with_classes(
    corpus: Corpus, classes: tuple[str, ...], emotions: Mapping[str, str]
) -> tuple[Corpus, dict[str, int]]:
    """The corpus with the model's classes; emotions that are none of them become unknown, and are counted."""
    found = {u.emotion for u in corpus.utterances if u.emotion}
    for label, name in emotions.items():
        if label not in found:
            raise UserError(f"evaluate.map: no label is {label!r}; there are: {', '.join(sorted(found))}")
        if name not in classes:
            raise UserError(f"evaluate.map={{{label}: {name}}}: the model knows {', '.join(classes)}")
    known = {name: emotions.get(name, name) for name in found}
    unmapped = Counter(u.emotion for u in corpus.utterances if known.get(u.emotion, "") not in ("", *classes))
    utterances = tuple(
        u._replace(emotion=name if (name := known.get(u.emotion, "")) in classes else "")
        for u in corpus.utterances
    )
    if not any(u.emotion for u in utterances):
        raise UserError(
            f"no label is an emotion that the model knows ({', '.join(classes)}); the labels have "
            f"{', '.join(sorted(found)) or 'none'}: map them by evaluate.map={{THEIRS: OURS}}"
        )
    return replace(corpus, utterances=utterances, classes=classes), dict(sorted(unmapped.items()))


def decide(predictor: Predictor, corpus: Corpus, rows: Tensor | None = None) -> RowDecisions:
    """The ensemble's decisions on some utterances, (R,) rows, or on all; a block at a time."""
    blocks = torch.split(torch.arange(len(corpus.utterances)) if rows is None else rows, BLOCK)
    return concatenated(
        [
            RowDecisions(
                block, predictor.decide({n: corpus.features[n][block.numpy()] for n in predictor.features})
            )
            for block in blocks
        ]
    )
