"""What a smaller network costs: chosen rounds against the same rounds of a control that prunes nothing."""

from dataclasses import dataclass

import numpy as np

from mer_lightning.report.pairs import Comparison, common_seeds, in_the_same_round, matches, paired_sums
from mer_lightning.report.runs import at_round
from mer_lightning.report.statistics import loss_verdict, paired_differences
from mer_lightning.report.systems import DataSet, System

MARGIN = 0.01  # one point: a loss below it counts as none when asking what a smaller network costs


@dataclass(frozen=True)
class Cost(Comparison):
    """What a smaller network costs: the chosen rounds of a system against the same rounds without pruning."""

    rounds: tuple[int, ...] = ()  # chosen on validation, by seed
    parameters_ratio: float = 1.0  # mean over seeds

    @property
    def null(self) -> float:
        """The loss that has to be ruled out."""
        return -MARGIN

    def judged(self, low: float, high: float) -> str:
        """Whether there is no loss of MARGIN."""
        return loss_verdict(low, high, MARGIN)


def costs(data: DataSet, experiment: str) -> list[Cost]:
    """What the smaller networks of an experiment's systems cost, in the headline's part and measure.

    Raises UserError where rounds' folders are gone.
    """
    controls = {a.label: b for a, b, _, other in matches(data) if b.experiment == "rewind_only" and not other}
    systems = [s for s in data.of(experiment) if any(run.results.best.parameters_ratio < 1 for run in s.runs)]
    return [cost(system, controls.get(system.label), *data.headline) for system in systems]


def cost(system: System, control: System | None, part: str, measure: str) -> Cost:
    """The rounds chosen on validation against the same rounds of the control, else against round 0."""
    runs = in_the_same_round(common_seeds(system, control)) if control else []
    against = f"{control.label} in the same round" if control and runs else "its own round 0"
    runs = runs or [(run, at_round(run, 0)) for run in system.runs]
    pair, unit = paired_sums(runs, part)
    return Cost(
        system.label, against, f"Is {system.label} smaller at no loss?", part, measure,
        seeds=[run.seed for run, _ in runs],
        differences=paired_differences(pair),
        unit=unit,
        other_settings=[],
        rounds=tuple(run.results.best_round for run, _ in runs),
        parameters_ratio=float(np.mean([run.results.best.parameters_ratio for run, _ in runs])),
    )  # fmt: skip
