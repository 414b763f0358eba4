"""The controls of PNAO: the sizes of a finished PNAO run, reached in another way."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from mer_lightning.config.schema import Config
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.pnao.compact import prunable_parameters
from mer_lightning.pnao.masks import Guarded, Importances, random_masks, target_masks, top_k_masks
from mer_lightning.pnao.nodes import Nodes
from mer_lightning.pnao.rule import WholeRule
from mer_lightning.training.outcome import RoundRecord, read_record


def round_seed(seed: int, fold: int, number: int, *rank: int) -> int:
    """A seed of its own for every fit, so that a continued run equals an undisturbed one."""
    return int(np.random.SeedSequence([seed, fold, number, *rank]).generate_state(1)[0])


def reference_record(config: Config, fold: int, number: int | None = None) -> RoundRecord:
    """Of the PNAO run that a control matches: a round on a fold; None: the round that it chose."""
    run = RunDirectory(Path(str(config.pnao.like)))
    return read_record(run.round(fold, run.best_round() if number is None else number))


def fixed_widths(config: Config, levels: Sequence[str], fold: int) -> dict[str, int]:
    """Group -> width, where a network is narrow before its first training; other groups are as wide as usual.

    ``pnao.control=scratch``: the chosen widths with fresh weights. ``network.attention``: a narrow attention.
    """
    if config.pnao.control == "scratch":
        return reference_record(config, fold).widths
    if config.network.attention is None:
        return {}
    return {f"{level}/attention_{i}": config.network.attention for level in levels for i in (1, 2)}


def control_rule(config: Config, fold: int) -> WholeRule:
    """Which nodes each round keeps.

    ``random``: nodes drawn from the whole network, as many parameters as the PNAO run has in that round.
    ``shuffled``: the widths that it has in that round, the nodes within each group drawn at random.
    ``one_shot``: the widths that it chose, in round 1 already, by importance; later rounds train on.
    """

    def rule(importances: Importances, number: int, module: nn.Module, nodes: Nodes, full: int) -> Guarded:
        """Masks for round ``number``; see ``Rule``."""
        seed = round_seed(config.seed, fold, number)
        if config.pnao.control == "one_shot":
            return Guarded(top_k_masks(importances, reference_record(config, fold).widths), [])
        there = reference_record(config, fold, number)
        if config.pnao.control == "shuffled":
            return Guarded(random_masks(importances, there.widths, seed), [])
        generator = torch.Generator().manual_seed(seed)
        chance = {group: torch.rand(len(g), generator=generator) for group, g in importances.items()}

        def size(widths: Mapping[str, int]) -> int:
            return prunable_parameters(module, nodes, widths)

        return Guarded(target_masks(chance, there.prunable, size), [])

    return rule
