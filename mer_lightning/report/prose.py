"""The statistics in sentences. "Better" and "worse" need a corrected interval that excludes zero."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mer_lightning.report.costs import MARGIN, Cost
from mer_lightning.report.pairs import VARIANTS, Comparison, clusters
from mer_lightning.report.power import Reach
from mer_lightning.report.runs import TRAIN_VAL
from mer_lightning.report.statistics import MIN_CLUSTERS, MIN_SEEDS, NOT_SHOWN
from mer_lightning.report.systems import DataSet
from mer_lightning.results.priors import of_test_sets
from mer_lightning.training.revision import flattered

NAMES = {"dis": "Dis", "uar": "UAR", "dim": "Dim", "com": "Com"}


@dataclass(frozen=True)
class Answer:
    """A question, its answer in a word or two, and the evidence in a sentence."""

    question: str
    verdict: str
    sentence: str

    @property
    def tone(self) -> str:
        """``better``, ``worse`` or ``open``, for the page's colours."""
        return {"better": "better", "yes": "better", "worse": "worse", "no": "worse"}.get(
            self.verdict, "open"
        )


def signed(value: float, digits: int = 4) -> str:
    """``+0.0123`` or, with a true minus sign, ``-0.0123``."""
    return f"{value:+.{digits}f}".replace("-", "\N{MINUS SIGN}")


def evidence(c: Comparison) -> str:
    """``Com +0.0123 on test, corrected interval +0.0034 to +0.0213``; empty where it cannot be computed."""
    if (d := c.difference) is None:
        return ""
    found = f"{NAMES[c.measure]} {signed(d.value)} on {c.part}"
    if d.lacks(c.unit):
        return f"{found}, with {d.clusters} {c.unit} and {d.seeds} seed{'s' * (d.seeds > 1)}"
    low, high = d.interval(c.alpha)
    return f"{found}, corrected interval {signed(low)} to {signed(high)}"


def verdict_sentence(c: Comparison) -> str:
    """Which of the two is better, or that no difference is shown, with the figures."""
    if c.difference is None:
        return (
            f"{c.first} and {c.second} cannot be compared in {NAMES[c.measure]} on {c.part}: too few labels."
        )
    if c.p is None:
        return f"{c.verdict.capitalize()} {c.first} and {c.against} apart: {evidence(c)}."
    if c.verdict == NOT_SHOWN:
        return f"No difference shown between {c.first} and {c.against}: {evidence(c)}.{ruled_out(c)}"
    return f"{c.first} is {c.verdict} than {c.against}: {evidence(c)}."


def ruled_out(c: Comparison) -> str:
    """What an interval that holds zero says nevertheless: that a loss or a gain would be small."""
    low, high = c.difference.interval(c.alpha) if c.difference else (-1, 1)
    out = [word for word, small in (("loss", low > -MARGIN), ("gain", high < MARGIN)) if small]
    return f" A {' or a '.join(out)} of {MARGIN:g} or more is ruled out." if out else ""


def answers(data: DataSet, compared: Sequence[Comparison], costs: Sequence[Cost]) -> list[Answer]:
    """What the data set's runs say to each question, in the headline's measure."""
    part, _ = data.headline
    found = [Answer(c.question, c.verdict, verdict_sentence(c)) for c in compared if c.part == part]
    return found + [Answer(c.question, c.verdict, cost_sentence(c)) for c in costs]


def cost_sentence(c: Cost) -> str:
    """What is left of a system, and whether that costs a point or more."""
    rounds = ", ".join(map(str, c.rounds))
    loss = f"a loss of {MARGIN:g} {NAMES[c.measure]} or more against {c.second}"
    said = {"yes": f"{loss} is ruled out", "no": f"{loss} is shown", "not shown": f"{loss} is not ruled out"}
    return (
        f"{c.first} keeps {c.parameters_ratio:.1%} of its parameters in the rounds chosen on validation "
        f"({rounds}): {said.get(c.verdict, c.verdict)}. {evidence(c)}."
    )


def remarks(compared: Sequence[Comparison], power: Sequence[Reach]) -> list[str]:
    """How the tests are corrected, and what difference could be seen."""
    found = [family_sentence(compared)] if compared else []
    return found + ([power_sentence(power, compared[0].measure)] if power else [])


def family_sentence(compared: Sequence[Comparison]) -> str:
    """How many tests were corrected together, and how."""
    return (
        f"Intervals are over seeds and {compared[0].unit} together, corrected by Holm's procedure for a "
        f"family of {compared[0].family} tests: all pairs on all parts, and whether smaller networks lose "
        "nothing."
    )


def power_sentence(power: Sequence[Reach], measure: str) -> str:
    """What difference could be seen with so many speakers or clips and seeds."""
    found = "; ".join(
        f"{r.difference:.4f} {NAMES[measure]} with {r.clusters} {r.unit} and {r.seeds} seeds" for r in power
    )
    return (
        f"The smallest true difference that four of five such experiments would show: {found}. From the "
        f"variances at hand, at level {power[0].alpha:.2g}; clips count as if each had its own speaker."
    )


def cautions(data: DataSet, compared: Sequence[Comparison]) -> list[str]:
    """What a reader must know before believing the answers."""
    part, _ = data.headline
    return [
        *_of_data(data, part),
        *_of_systems(data),
        *_of_clusters(data, part),
        *(
            f"{c.first} and {c.second} differ in other settings too ({'; '.join(c.other_settings)}): their "
            "difference may come from those."
            for c in compared
            if c.part == part and c.other_settings
        ),
    ]


def _of_data(data: DataSet, part: str) -> Iterator[str]:
    if data.synthetic:
        yield "The data are synthetic: made up. Nothing here says how well emotions are recognised."
    if part == TRAIN_VAL and data.protocol != "nested":
        yield (
            f"There is no test set, and in protocol={data.protocol} the part that is scored also stopped the "
            "training and chose the round. This flatters every score, and most of all systems with many "
            "rounds; protocol=nested does not have this bias."
        )


def _of_systems(data: DataSet) -> Iterator[str]:
    if max(len(system.runs) for system in data.systems) < MIN_SEEDS:
        yield (
            f"Fewer than {MIN_SEEDS} seeds per system: another training of the same system might differ by "
            "more, so no verdict is given."
        )
    if len({tuple(system.seeds) for system in data.systems}) > 1:
        yield (
            "Not all systems have the same seeds: compare them by the pairs, which use the seeds both have, "
            "not by the table's rows or the curves."
        )
    if seeing := [system.label for system in data.systems if system.runs[0].results.transductive]:
        yield f"{', '.join(seeing)} learnt from the test sets' features (transductive): the others did not."
    for system in data.systems:
        run = system.runs[0]
        for said in of_test_sets(run.results) + flattered(run.config.get("revision", {}), data.protocol):
            yield f"{system.label}: {said}"
    for name in dict.fromkeys(system.experiment for system in data.systems):
        if (count := len(data.of(name))) > VARIANTS:
            yield f"{count} variants of {name} are too many to compare with each other: report fewer."


def _of_clusters(data: DataSet, part: str) -> Iterator[str]:
    run = data.systems[0].runs[0]
    cluster, unit = clusters(run, run.rows(part))
    if unit == "utterances":
        yield (
            "Speakers are not known: every utterance counts as if it had its own. Where a speaker has "
            "several, the intervals are too narrow."
        )
    elif (count := len(set(cluster))) < MIN_CLUSTERS:
        yield f"Only {count} {unit} in {part}: too few to tell systems apart, so no verdict is given."
