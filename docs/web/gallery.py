"""Figures of small runs on made-up data, each with the command behind it: ``python -m docs.web.gallery``."""

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path("outputs") / "gallery"
SMALL = "network.dimension=16 trainer.epochs=6 trainer.learning_rate=0.01 pnao.rounds=4 data.folds=2"


class Step(NamedTuple):
    """A command, and the figures that it leaves below ``FOLDER``: file -> caption."""

    title: str
    about: str
    arguments: str
    figures: dict[str, str]


GRID = f"{FOLDER}/grid"
STEPS = (
    Step(
        "A sweep",
        "A run for each setting. The sweep draws them together; `sweep.csv` holds the numbers.",
        f"-m seed=0,1 pnao.rate=0.01,0.05 +experiment=pnao {SMALL} hydra.sweep.dir={FOLDER}/sweep",
        {"sweep/sweep.png": "Score and size of the chosen round against the pruning rate."},
    ),
    Step(
        "Systems compared",
        "The same seeds and folds for each system.",
        f"-m seed=0,1,2 +experiment=pnao,pnao_attention,rewind_only {SMALL} hydra.sweep.dir={GRID}",
        {},
    ),
    Step(
        "A report",
        "All finished runs below a folder on one page: a table, differences with intervals, figures.",
        f"task=report report.runs={GRID}",
        {
            "grid/report/figures/differences.png": "Differences, with intervals over seeds and speakers.",
            "grid/report/figures/fig2_confusion.png": "What two systems confuse.",
            "grid/report/figures/fig3_rounds.png": "Score and size over the rounds, the band over seeds.",
            "grid/report/figures/widths.png": "The width of every group of nodes over the rounds.",
            "grid/report/figures/fig4_weights.png": "The weights that are left over the rounds.",
            "grid/report/figures/pareto.png": "Score against size: the systems, and the front.",
            "grid/report/figures/calibration.png": "How far the posteriors can be believed.",
            "grid/report/figures/fusion_weights.png": "The weight of each branch.",
        },
    ),
)


def run() -> None:
    """Every command in turn; a finished run is left alone."""
    for step in STEPS:
        command = [sys.executable, "-m", "mer_lightning", *shlex.split(step.arguments)]
        subprocess.run(
            command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, env=os.environ | {"COLUMNS": "120"}
        )


def pictures() -> list[Path]:
    """The figures that are there: none before ``run``."""
    named = [ROOT / FOLDER / name for step in STEPS for name in step.figures]
    return [path for path in named if path.is_file()]


def page() -> str:
    """Markdown: each command, and its figures where they are made."""
    made = {path.name for path in pictures()}
    text = [
        "# Gallery",
        "Small networks, few rounds, **made-up data**: these figures show what a command draws, and nothing "
        "about emotions. Those of real data are with the [experiments](../experiments/README.md).",
    ]
    for step in STEPS:
        text += [f"## {step.title}", step.about, f"```\npython -m mer_lightning {step.arguments}\n```"]
        names = [(Path(name).name, caption) for name, caption in step.figures.items()]
        text += [f"{caption}\n\n![{caption}](gallery/{name})" for name, caption in names if name in made]
    return "\n\n".join(text) + "\n"


if __name__ == "__main__":
    run()
