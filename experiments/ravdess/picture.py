"""The README's picture: score and size of every round, with and without pruning, on light and on dark pages.

python -m experiments.ravdess.picture OUTER_RUNS FOLDER    (runs of pnao and rewind_only, as in outer_folds)
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib import rc_context

from experiments.outer_folds.compare import OUTER, Outer, by_system, merged
from mer_lightning.report.figures.style import BLUE, ORANGE, RC, figure, png, tidy
from mer_lightning.report.pairs import run_sums
from mer_lightning.report.runs import Floats, at_round, find_runs
from mer_lightning.results.sums import scores

INKS = {"light": ("#222222", "white"), "dark": ("#e6e6e6", "#0d1117")}
KEYS = ("axes.edgecolor", "axes.labelcolor", "text.color", "xtick.color", "ytick.color")


def curves(system: Outer) -> tuple[Floats, Floats]:
    """(S, R) weighted F1 on all utterances, each tested once, and (S, R) thousand parameters of a network."""
    rounds = range(len(next(iter(system.seeds.values()))[0].results.rounds))
    found = []
    for runs in system.seeds.values():
        for number in rounds:
            whole = merged([at_round(run, number) for run in runs])
            sums = run_sums(whole, OUTER, np.zeros(len(whole.ids), dtype=np.int64))
            size = np.mean([run.results.rounds[number].parameters for run in runs]) / 1000
            found.append((scores(*(s[0] for s in sums))[0], size))
    dis, sizes = np.array(found).T.reshape(2, len(system.seeds), len(rounds))
    return dis, sizes


def draw(systems: dict[str, tuple[Floats, Floats]], ink: str, paper: str) -> bytes:
    """A PNG of both systems' rounds; shaded from the lowest to the highest seed."""
    with rc_context(RC | dict.fromkeys(KEYS, ink)):
        made, (quality, size) = figure(7.2, 2.5, columns=2)
        for (label, (dis, sizes)), color, marker in zip(systems.items(), (BLUE, ORANGE), "os", strict=False):
            rounds = np.arange(dis.shape[1])
            quality.plot(rounds, dis.mean(axis=0), color=color, marker=marker, label=label)
            quality.fill_between(
                rounds, dis.min(axis=0), dis.max(axis=0), color=color, alpha=0.2, linewidth=0
            )
            size.plot(rounds, sizes.mean(axis=0), color=color, marker=marker, label=label)
        quality.set_ylabel("test Dis (weighted F1)")
        size.set_ylabel("thousand parameters")
        size.set_ylim(bottom=0)
        size.legend(loc="center right")
        made.set_facecolor(paper)
        for axes in (quality, size):
            tidy(axes)
            axes.set_facecolor(paper)
            axes.grid(color=ink, alpha=0.15)
            axes.set_xlabel("round")
        return png(made)


def main() -> None:
    """Draw what the command line names."""
    systems = by_system(find_runs(Path(sys.argv[1])))
    drawn = {system.experiment: curves(system) for system in systems.values()}
    for name, colors in INKS.items():
        (Path(sys.argv[2]) / f"rounds_{name}.png").write_bytes(draw(drawn, *colors))


if __name__ == "__main__":
    main()
