"""The README's picture: score and size of every round, with and without pruning, on light and on dark pages.

python -m experiments.ravdess.picture PNAO_RUN REWIND_ONLY_RUN FOLDER
"""

import sys
from pathlib import Path

from matplotlib import rc_context

from mer_lightning.files.recorded import Results
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.report.figures.style import BLUE, ORANGE, RC, figure, png, tidy

INKS = {"light": ("#222222", "white"), "dark": ("#e6e6e6", "#0d1117")}
KEYS = ("axes.edgecolor", "axes.labelcolor", "text.color", "xtick.color", "ytick.color")


def draw(pnao: Results, control: Results, ink: str, paper: str) -> bytes:
    """A PNG of both runs' rounds: weighted F1 out of fold, and parameters of one network."""
    with rc_context(RC | dict.fromkeys(KEYS, ink)):
        made, (scores, sizes) = figure(7.2, 2.5, columns=2)
        for name, run, color, marker in (("pnao", pnao, BLUE, "o"), ("rewind_only", control, ORANGE, "s")):
            look = {"color": color, "marker": marker, "label": name}
            rounds = [r.round for r in run.rounds]
            scores.plot(rounds, [r.validation.dis for r in run.rounds], **look)
            sizes.plot(rounds, [r.parameters / 1000 for r in run.rounds], **look)
        scores.set_ylabel("Dis (weighted F1)")
        sizes.set_ylabel("thousand parameters")
        sizes.set_ylim(bottom=0)
        sizes.legend(loc="lower left")
        made.set_facecolor(paper)
        for axes in (scores, sizes):
            tidy(axes)
            axes.set_facecolor(paper)
            axes.grid(color=ink, alpha=0.15)
            axes.set_xlabel("round")
        return png(made)


def main() -> None:
    """Draw what the command line names."""
    pnao, control = (RunDirectory(Path(path)).read_results() for path in sys.argv[1:3])
    for name, colors in INKS.items():
        (Path(sys.argv[3]) / f"rounds_{name}.png").write_bytes(draw(pnao, control, *colors))


if __name__ == "__main__":
    main()
