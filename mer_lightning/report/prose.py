"""The statistics in sentences. "Better" and "worse" are said only of an interval that excludes zero."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mer_lightning.report.pairs import MARGIN, Comparison, SizeStep, clusters, smallest_without_loss
from mer_lightning.report.runs import TRAIN_VAL
from mer_lightning.report.statistics import Difference
from mer_lightning.report.systems import DataSet

FEW_CLUSTERS = 10
NAMES = {"dis": "Dis", "dim": "Dim", "com": "Com"}


@dataclass(frozen=True)
class Answer:
    """A question, its answer in a word or two, and the evidence in a sentence."""

    question: str
    verdict: str
    sentence: str

    @property
    def tone(self) -> str:
        """``better``, ``worse`` or ``open``, for the page's colours."""
        return {"better": "better", "yes": "better", "worse": "worse"}.get(self.verdict, "open")


def signed(value: float, digits: int = 4) -> str:
    """``+0.0123`` or, with a true minus sign, ``-0.0123``."""
    return f"{value:+.{digits}f}".replace("-", "\N{MINUS SIGN}")


def interval(d: Difference) -> str:
    """``+0.0123 [+0.0034, +0.0213]``."""
    return f"{signed(d.value)} [{signed(d.low)}, {signed(d.high)}]"


def verdict_sentence(c: Comparison, measure: str) -> str:
    """Which of the two is better, or that no difference is shown, with the figures."""
    d = c.differences[measure]
    if d is None:
        return f"{c.first} and {c.second} cannot be compared in {NAMES[measure]} on {c.part}: too few labels."
    evidence = (
        f"{NAMES[measure]} {signed(d.value)} on {c.part}, 95 % interval {signed(d.low)} to {signed(d.high)}"
    )
    verdict = c.verdict(measure)
    if verdict == "no difference shown":
        return f"No difference shown between {c.first} and {c.second}: {evidence}.{ruled_out(d, measure)}"
    return f"{c.first} is {verdict} than {c.second}: {evidence}."


def ruled_out(d: Difference, measure: str) -> str:
    """What an interval that holds zero says nevertheless: that a loss or a gain would be small."""
    if measure == "dim":  # its unit is the data set's: no margin fits all
        return ""
    out = [word for word, small in (("loss", d.low > -MARGIN), ("gain", d.high < MARGIN)) if small]
    return f" A {' or a '.join(out)} of {MARGIN:g} or more is ruled out." if out else ""


def answers(
    data: DataSet, compared: Sequence[Comparison], sizes: Mapping[str, Sequence[SizeStep]]
) -> list[Answer]:
    """What the data set's runs say to each question, in the headline's measure."""
    part, measure = data.headline
    found = [
        Answer(c.question, c.verdict(measure), verdict_sentence(c, measure))
        for c in compared
        if c.part == part
    ]
    found += [size_answer(label, steps, part, measure) for label, steps in sizes.items() if steps]
    return found


def size_answer(label: str, steps: Sequence[SizeStep], part: str, measure: str) -> Answer:
    """How small a system may get without a loss of a point or more."""
    question = f"How small can {label} get at no loss?"
    loss = f"a loss of {MARGIN:g} {NAMES[measure]} or more on {part}"
    best = smallest_without_loss(steps)
    if best is None or best.difference is None:
        return Answer(
            question, "not shown", f"In no round of {label} can {loss} against round 0 be ruled out."
        )
    return Answer(
        question,
        f"{best.parameters_ratio:.1%}",
        f"{label} keeps {best.parameters_ratio:.1%} of its parameters in round {best.round}, where {loss} is "
        f"ruled out: against round 0 {interval(best.difference)}.",
    )


def cautions(data: DataSet, compared: Sequence[Comparison]) -> list[str]:
    """What a reader must know before believing the answers."""
    part, measure = data.headline
    found = []
    if data.synthetic:
        found.append("The data are synthetic: made up. Nothing here says how well emotions are recognised.")
    if max(len(system.runs) for system in data.systems) == 1:
        found.append("One seed per system: another training of the same system might differ by more.")
    if seeing := [system.label for system in data.systems if system.runs[0].results.transductive]:
        found.append(
            f"{', '.join(seeing)} learnt from the test sets' features (transductive): the others did not."
        )
    if len({tuple(system.seeds) for system in data.systems}) > 1:
        found.append(
            "Not all systems have the same seeds: compare them by the pairs, which use the seeds both have, "
            "not by the table's rows or the curves."
        )
    if part == TRAIN_VAL and data.protocol == "paper":
        found.append(
            "There is no test set, and in protocol=paper the fold that is scored also stopped the training "
            "and chose the round. This flatters every score, and most of all systems with many rounds; "
            "protocol=nested does not have this bias."
        )
    run = data.systems[0].runs[0]
    cluster, unit = clusters(run, run.rows(part))
    if unit == "utterances":
        found.append(
            "Speakers are not known: utterances were drawn one by one. Where a speaker has several, the "
            "intervals are too narrow."
        )
    elif len(set(cluster)) < FEW_CLUSTERS:
        found.append(f"Only {len(set(cluster))} speakers: with so few, the intervals are too narrow.")
    return found + [caution for c in compared if c.part == part for caution in pair_cautions(c, measure)]


def pair_cautions(c: Comparison, measure: str) -> list[str]:
    """What else may stand behind a difference between two systems."""
    found = []
    if c.other_settings:
        found.append(
            f"{c.first} and {c.second} differ in other settings too ({'; '.join(c.other_settings)}): their "
            "difference may come from those."
        )
    over_seeds = c.by_seed[measure]
    if (
        c.verdict(measure) != "no difference shown"
        and over_seeds is not None
        and over_seeds.half is not None
        and abs(over_seeds.mean) <= over_seeds.half
    ):
        found.append(
            f"{c.first} and {c.second}: over the {over_seeds.n} seeds alone the interval of the difference, "
            f"{signed(over_seeds.mean)} ± {over_seeds.half:.4f}, holds zero; more seeds would settle it."
        )
    return found
