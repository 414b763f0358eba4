"""A model on the same utterances under several conditions: feature sets removed, clips made noisy."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from mer_lightning.data.corpus import Corpus
from mer_lightning.errors import UserError
from mer_lightning.files.recorded import AllScores
from mer_lightning.model.decisions import RowDecisions
from mer_lightning.report import figures
from mer_lightning.report.pictures import Picture
from mer_lightning.report.statistics import MEASURES, Difference, Paired, paired_differences
from mer_lightning.results.choice import part_sums
from mer_lightning.results.evaluation import Evaluation, decide
from mer_lightning.results.predictor import Predictor
from mer_lightning.results.scoring import all_scores
from mer_lightning.results.sums import Sums

DRAWN = {"dis": "Weighted F1 (Dis)", "dim": "Valence: MSE (Dim), lower is better"}
ALL = "all sets"
CAPTION = (
    "Intervals: 95 % each, of the paired difference to the dashed line, for other speakers (or utterances, "
    "where none are known); how much another training would differ is not in them."
)


@dataclass(frozen=True)
class Condition:
    """The scores under one condition, and by measure their differences to the reference; its own has none."""

    name: str
    scores: AllScores
    differences: dict[str, Difference | None]

    def numbers(self) -> Iterator[float | None]:
        """Of each measure the score, its difference and the interval's ends."""
        for m in MEASURES:
            d = self.differences.get(m)
            yield from (getattr(self.scores, m), *((d.value, *d.interval()) if d else (None, None, None)))


@dataclass(frozen=True)
class Study:
    """Conditions of one kind against a reference, which is the first of them.

    name: of its files. note: what was done. draw: its figure, from a panel for each score.
    """

    name: str
    title: str
    note: str
    conditions: Sequence[Condition]
    draw: Callable[[Sequence[figures.Panel]], Figure]

    @property
    def table(self) -> tuple[list[str], list[list[object]]]:
        """Header and rows: every measure, its difference to the reference, and the interval's ends."""
        header = [f"{m}{what}" for m in MEASURES for what in ("", "_difference", "_low", "_high")]
        return ["condition", *header], [[c.name, *c.numbers()] for c in self.conditions]

    @property
    def panels(self) -> list[figures.Panel]:
        """One for each score that is drawn and known."""
        reference, *others = self.conditions
        found = []
        for measure, title in DRAWN.items():
            base: float | None = getattr(reference.scores, measure)
            lines = [
                figures.Line(c.name, base + d.value, *(base + end for end in d.interval()))
                for c in others
                if base is not None and (d := c.differences[measure])
            ]
            if base is not None and len(lines) == len(others):
                found.append(figures.Panel(title, base, lines))
        return found

    @property
    def picture(self) -> Picture | None:
        """None where no interval is to be had: a single speaker, say."""
        panels, reference = self.panels, self.conditions[0].name
        words = " ".join(
            f"{p.measure}: {reference} {p.reference:.3f}; "
            + "; ".join(f"{x.label} {x.value:.3f} ({x.low:.3f} to {x.high:.3f})" for x in p.lines)
            + "."
            for p in panels
        )
        caption = f"{self.note} {CAPTION}"
        return Picture(self.name, self.title, caption, words, lambda: self.draw(panels)) if panels else None


def ablation(predictor: Predictor, found: Evaluation) -> Study:
    """The scores without each feature set and, of three sets or more, by each alone.

    Raises UserError for a model with one feature set.
    """
    names = tuple(predictor.features)
    if len(names) < 2:
        raise UserError(f"evaluate.ablation: the model has {names[0]} alone, nothing can be removed")
    rows, said = tested(found.corpus)
    decisions = {
        name: decide(predictor.doing_without(sets), found.corpus, rows)
        for name, sets in removals(names).items()
    }
    return Study(
        "ablation",
        "What each feature set is worth to this model",
        f"{said} Sets are removed at test time, their training mean stands in; nothing is trained again.",
        compared(found, rows, ALL, decisions),
        lambda panels: figures.bars_figure(panels, ALL),
    )


def removals(names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Condition -> the feature sets that are removed: each; of three or more, all but each."""
    removed = {f"without {name}": (name,) for name in names}
    alone = {f"{name} alone": tuple(n for n in names if n != name) for name in names}
    return removed | (alone if len(names) > 2 else {})


def noise(predictor: Predictor, found: Evaluation, corrupted: Mapping[float, Corpus], axis: str) -> Study:
    """The scores against the level of corruption.

    Args:
        corrupted: level -> the corpus with other features.
        axis: what the levels are.

    Raises:
        UserError: one of them has other utterances.
    """
    ids, levels = [u.id for u in found.corpus.utterances], sorted(corrupted)
    for level in levels:
        if [u.id for u in corrupted[level].utterances] != ids:
            raise UserError(f"evaluate.noisy, level {level:g}: its utterances are not those of data.root")
    (rows, said), name = tested(found.corpus), found.corpus.name
    decisions = {f"{x:g}": decide(predictor, corrupted[x], rows) for x in levels}
    return Study(
        "noise",
        f"The scores against the {axis}",
        f"{said} The same utterances at each level; dashed: {name} as it is.",
        compared(found, rows, name, decisions),
        lambda panels: figures.curve_figure(panels, levels, axis, name),
    )


def tested(corpus: Corpus) -> tuple[Tensor, str]:
    """(R,) rows of the test sets, or all where there is none; and a sentence that says so."""
    others = corpus.tests
    rows = corpus.rows(others) if others else np.arange(len(corpus.utterances))
    return torch.from_numpy(rows), f"{len(rows):,} utterances{' of ' * bool(others)}{', '.join(others)}."


def compared(
    found: Evaluation, rows: Tensor, name: str, decisions: Mapping[str, RowDecisions]
) -> list[Condition]:
    """Decisions on some rows against the evaluation's own, which come first under ``name``."""
    corpus, base = found.corpus, found.decisions.among(rows.numpy())
    sums = sums_by_group(base, corpus)
    return [Condition(name, all_scores(base, corpus, np.nan), {})] + [
        Condition(
            condition,
            all_scores(d, corpus, np.nan),
            paired_differences(Paired(sums_by_group(d, corpus), sums)),
        )
        for condition, d in decisions.items()
    ]


def sums_by_group(decisions: RowDecisions, corpus: Corpus) -> Sums:
    """Per speaker or other group, of one training: (1, K, ...)."""
    return Sums(*(array[None] for array in part_sums(decisions, corpus)))
