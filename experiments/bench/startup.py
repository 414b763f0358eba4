"""How long the command line takes: to answer, and to the first training step."""

import os
import subprocess
import sys
import tempfile

from experiments.bench.measure import Figure, Scale, Side, interleaved, medians, ratio, spread

FIRST_STEP = """
import os
from mer_lightning import __main__
from mer_lightning.model.module import EmotionModule
step = EmotionModule.training_step
def first(self, batch, index):
    step(self, batch, index)
    os._exit(0)
EmotionModule.training_step = first
__main__.main()
"""
IMPORTS = "import lightning.pytorch, torchmetrics, hydra, sklearn.model_selection"
ANSWERS = 1.0  # seconds in which the command line should answer


def startup(scale: Scale) -> list[Figure]:
    """Processor time of new processes, all their threads: ``--help``, ``--cfg job``, the first step.

    The first two are in seconds, which say nothing of other machines; the first step, of the embedded data
    set and in one process, is over the time of importing the libraries that it needs.
    """
    with tempfile.TemporaryDirectory() as folder:
        there = f"hydra.run.dir={folder}/run"
        options = ["data=synthetic", "data.size=small", "folds.workers=1", "trainer.accelerator=cpu", there]
        times = interleaved(
            {
                "--help": process("-m", "mer_lightning", "--help"),
                "--cfg job": process("-m", "mer_lightning", "--cfg", "job"),
                "imports": process("-c", IMPORTS),
                "first step": process("-c", FIRST_STEP, *options),
            },
            scale.few,
        )
    details = {"seconds of the processor": medians(times)}
    return [
        Figure("startup_help", spread(times["--help"]), ANSWERS, unit="s"),
        Figure("startup_cfg_job", spread(times["--cfg job"]), ANSWERS, unit="s"),
        Figure("startup_first_step", ratio(times["first step"], times["imports"]), details=details),
    ]


def process(*arguments: str) -> Side:
    """A side: the processor time of a new Python process with these arguments.

    It raises subprocess.CalledProcessError if the process fails.
    """

    def side() -> float:
        before = os.times()
        subprocess.run(
            [sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        after = os.times()
        return after.children_user - before.children_user + after.children_system - before.children_system

    return side
