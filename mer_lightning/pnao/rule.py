"""The rule that says which nodes the next round keeps, where the user gives none."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import nn

from mer_lightning.pnao.checks import check_values
from mer_lightning.pnao.compact import prunable_parameters
from mer_lightning.pnao.importance import SCALES, scaled
from mer_lightning.pnao.masks import (
    Guarded,
    Importances,
    Masks,
    even_groups,
    global_masks,
    guard_masks,
    share_left,
    target_masks,
)
from mer_lightning.pnao.nodes import Nodes, norm_parts

MaskRule = Callable[[Importances, int], Masks]  # (importances, number of the round to come)
WholeRule = Callable[[Importances, int, nn.Module, Nodes, int], Guarded]  # as ``Rule.__call__``


def unguarded(masks: MaskRule) -> WholeRule:
    """A user's rule, which looks at importances alone and has no guards."""
    return lambda importances, number, *_: Guarded(masks(importances, number), [])


@dataclass(frozen=True)
class Rule:
    """Eq. 11 with rate k, or a target, on a scale, with guards; see ``PNAO``."""

    rate: float
    rounds: int
    scale: str
    keep: float | None
    min_width: int
    max_share: float

    def __post_init__(self) -> None:
        check_values(
            rate=(self.rate, 0 <= self.rate < 1),
            scale=(self.scale, self.scale in SCALES),
            keep=(self.keep, self.keep is None or 0 < self.keep <= 1),
            min_width=(self.min_width, self.min_width >= 0),
            max_share=(self.max_share, 0 <= self.max_share <= 1),
        )

    def __call__(
        self, importances: Importances, number: int, module: nn.Module, nodes: Nodes, full: int
    ) -> Guarded:
        """Masks for round ``number``, and what the guards did.

        Args:
            importances: group -> (width,), each >= 0.
            full: prunable parameters of round 0.
        """
        compared, parts = scaled(importances, self.scale), norm_parts(module, nodes)

        def even(masks: Masks) -> Masks:
            return masks | {
                group: even_groups(masks[group], compared[group], n) for group, n in parts.items()
            }

        if self.keep is None:
            masks = global_masks(compared, self.rate)
        else:
            budget = share_left(self.keep, number, self.rounds) * full
            masks = target_masks(compared, budget, partial(prunable_parameters, module, nodes), even)
        guarded = guard_masks(masks, compared, self.min_width, self.max_share)
        return guarded._replace(masks=even(guarded.masks))
