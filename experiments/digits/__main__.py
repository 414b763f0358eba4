"""``python -m experiments.digits``: trains, then writes table.md and accuracy.png into outputs/digits/."""

import argparse
import logging
import warnings
from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch

from experiments.bench.measure import interleaved, ratio, threads, timed
from experiments.digits import methods
from experiments.digits.task import CNN, MLP, Classifier, Task
from mer_lightning.report.statistics import over_seeds
from mer_lightning.report.table import cell

NETWORKS = (MLP, CNN)
KEEPS = (0.3, 0.1, 0.03)  # shares of the parameters that are left
DENSE, REWIND, OURS, OTHER = "one long fit", "rewind_only", "PNAO, scale=layer", "Torch-Pruning"
RANDOM, NARROW, MASKS = "random masks, as many nodes", "narrow from the start", "ModelPruning"
Key = tuple[str, float]  # method, share


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, measure, write."""
    parser = argparse.ArgumentParser("python -m experiments.digits", description=__doc__)
    for option, default in (("--seeds", 5), ("--epochs", 8), ("--rounds", 4)):
        parser.add_argument(option, type=int, default=default)
    parser.add_argument("--output", type=Path, default=Path("outputs/digits"))
    options = parser.parse_args(arguments)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning|torch")
    options.output.mkdir(parents=True, exist_ok=True)
    text, (picture, panels) = "", plt.subplots(1, len(NETWORKS), figsize=(10, 4), squeeze=False)
    for network, panel in zip(NETWORKS, panels[0], strict=True):
        with threads(1):
            runs = [run(network, seed, options.epochs, options.rounds) for seed in range(options.seeds)]
        figures = {key: np.array([r[key] for r in runs]).T for key in runs[0]}  # (4, seeds)
        text += f"### {network.__name__}\n\n{table(figures)}\n\n{differences(figures)}\n\n"
        draw(figures, panel, network.__name__)
    (options.output / "table.md").write_text(text, encoding="utf-8")
    picture.savefig(options.output / "accuracy.png", dpi=100, bbox_inches="tight")
    print(text)


def run(network: type[MLP] | type[CNN], seed: int, epochs: int, rounds: int) -> dict[Key, list[float]]:
    """Accuracy on test, parameters, latency at batch 256 and at batch 1 (dense: 1)."""
    task = Task(network, seed, KEEPS[0], epochs, rounds)
    found: dict[Key, Classifier] = {
        (DENSE, 1): methods.one_fit(task),
        (REWIND, 1): methods.pnao(task, rate=0.0)[0],
        ("PNAO to the letter, alpha=1e-4", 1): methods.pnao(task, alpha=1e-4)[0],
        ("PNAO to the letter, alpha=1e-3", 1): methods.pnao(task, alpha=1e-3)[0],
        (MASKS, 1): methods.model_pruning(task),
    }
    for keep in KEEPS:
        task = Task(network, seed, keep, epochs, rounds)
        found[OURS, keep], callback = methods.pnao(task, scale="layer", keep=keep)
        found[RANDOM, keep] = methods.at_random(task, callback.history)
        found[NARROW, keep] = methods.one_fit(task, like=found[OURS, keep])
        if find_spec("torch_pruning"):
            found[OTHER, keep] = methods.torch_pruning(task)
    slow, fast = latency(found, batch=256, times=2), latency(found, batch=1, times=50)
    return {k: [task.accuracy(m), methods.size(m), slow[k], fast[k]] for k, m in found.items()}


@torch.inference_mode()
def latency(found: dict[Key, Classifier], batch: int, times: int) -> dict[Key, float]:
    """Time of a forward over that of the dense network: in turns, on one thread."""
    x, dense = torch.rand(batch, 64), (DENSE, 1)
    calls = {str(key): partial(module.eval(), x) for key, module in found.items()}
    first = {"": calls[str(dense)]}  # does not count: a turn's first is slower than it would be later on
    seconds = interleaved({name: timed(call, times) for name, call in (first | calls).items()}, repeats=9)
    return {key: ratio(seconds[str(key)], seconds[str(dense)]).value for key in found}


def table(figures: dict[Key, Any]) -> str:
    """All methods; those that reach a given share at the first one."""
    lines = [
        "| | accuracy on test | parameters | latency, batch 256 | batch 1 |",
        "|---|---:|---:|---:|---:|",
    ]
    full = figures[DENSE, 1][1].mean()
    for (name, keep), (accuracy, size, slow, fast) in figures.items():
        if keep in (1, KEEPS[0]):
            left = f"{size.mean():,.0f} ({size.mean() / full:.0%})"
            score = cell(over_seeds(accuracy.tolist()))
            lines.append(f"| {name} | {score} | {left} | {slow.mean():.2f} | {fast.mean():.2f} |")
    if not find_spec("torch_pruning"):
        lines.append(f"| {OTHER} | not installed: pip install torch-pruning | | | |")
    return "\n".join(lines)


def differences(figures: dict[Key, Any]) -> str:
    """PNAO minus the others, seed by seed."""
    others = [
        name for name in (REWIND, RANDOM, NARROW, OTHER) if (name, KEEPS[0]) in figures or name == REWIND
    ]
    lines = [f"| {OURS}, minus | {' | '.join(others)} |", "|---|" + "---:|" * len(others)]
    for keep in KEEPS:
        ours = figures[OURS, keep][0]
        other = [figures[name, 1 if name == REWIND else keep][0] for name in others]
        lines.append(
            f"| {keep:.0%} left | {' | '.join(cell(over_seeds((ours - o).tolist())) for o in other)} |"
        )
    return "\n".join(lines)


def draw(figures: dict[Key, Any], panel: Any, title: str) -> None:
    """Accuracy against the share of parameters, with bands over seeds."""
    full = figures[DENSE, 1][1].mean()
    for name in dict.fromkeys(name for name, _ in figures if name != MASKS):
        points = [v for (n, _), v in figures.items() if n == name]
        shares = np.array([v[1].mean() / full for v in points])
        scores = [over_seeds(v[0].tolist()) for v in points]
        means, halves = np.array([s.mean for s in scores]), np.array([s.half or 0 for s in scores])
        if len(points) == 1:
            panel.errorbar(shares, means, halves, fmt="s", capsize=3, label=name)
        else:
            (line,) = panel.plot(shares, means, marker="o", label=name)
            panel.fill_between(shares, means - halves, means + halves, color=line.get_color(), alpha=0.12)
    panel.set(title=title, xlabel="parameters left", ylabel="accuracy on test", xscale="log", ylim=(0.8, 1))
    panel.set_xticks([1, *KEEPS], [f"{share:.0%}" for share in (1, *KEEPS)])
    panel.minorticks_off()
    panel.legend(fontsize=7, loc="lower right")


if __name__ == "__main__":
    main()
