"""What a finished round is said to be: its entry in the history, and what loggers are told."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import lightning as L

from mer_lightning.pnao.compact import prunable_parameters
from mer_lightning.pnao.nodes import Nodes, widths
from mer_lightning.pnao.probe import Probe, macs


def sizes(
    module: L.LightningModule, nodes: Nodes, probe: Probe, history: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """How large the module is now, and each group by what it was in round 0."""
    here = widths(module, nodes)
    first = history[0]["widths"] if history else here
    return {
        "parameters": sum(p.numel() for p in module.parameters()),
        "prunable": prunable_parameters(module, nodes, here),
        "macs": macs(module, probe),
        "widths": here,
        "density": {group: width / max(1, first[group]) for group, width in here.items()},
    }


@contextmanager
def unlogged(module: L.LightningModule) -> Iterator[None]:
    """Let ``self.log`` do nothing, so that a criterion may call ``training_step`` after the training."""
    module.__dict__["log"] = lambda *_, **__: None
    try:
        yield
    finally:
        del module.__dict__["log"]


def log_round(trainer: L.Trainer, record: Mapping[str, Any]) -> None:
    """Tell the Trainer's loggers the round's score and sizes, with the round as the step."""
    numbers = {f"pnao/{key}": record[key] for key in ("score", "parameters", "macs", "difference")}
    numbers |= {f"pnao/width/{group}": width for group, width in record["widths"].items()}
    for logger in trainer.loggers:
        logger.log_metrics(numbers, step=record["round"])
