"""Keys that a system does not look at: in a grid over systems they are no mistake."""

from inspect import signature
from typing import Any

from omegaconf import DictConfig

from mer_lightning.config.identity import marks
from mer_lightning.config.registry import CHOSEN_BY_NAME, CRITERIA, OPTIMIZERS

# what a key is where it is not used, if another value would be refused
IDLE: dict[str, Any] = {"pnao.rounds": 0, "pnao.like": None, "network.attention": None, "combine.runs": []}


def unused(settings: DictConfig) -> dict[str, str]:
    """Dotted key -> why the system of these settings does not look at it."""
    transformer = settings.network.kind == "transformer"
    rules = (
        (transformer, "never prunes", "pnao."),
        (not settings.pnao.rounds, "does not prune, by pnao.rounds=0", "pnao."),
        (settings.pnao.control == "none", "is no control", "pnao.like"),
        (transformer, "is a transformer", "fusion.", "network.attention", "network.softmax"),
        (not transformer, "is no transformer", "network.layers", "network.heads"),
        (settings.fusion.kind != "linear", "has another fusion", "fusion.weights"),
        (settings.loss.supervision != "both", "has another loss.supervision", "loss.auxiliary"),
        (not settings.revision.rounds, "revises no labels", "revision.share", "revision.choose"),
        (settings.combine.of == "none", "combines no systems", "combine.weights", "combine.runs"),
    )
    found: dict[str, str] = {}
    for holds, why, *of in rules:
        keys = (key for key in marks() if holds and key.startswith(tuple(of)))
        found = dict.fromkeys(keys, why) | found
    if settings.pnao.rounds == 0:
        found.pop("pnao.rounds", None)
    return _of_other_parts(settings) | found


def _of_other_parts(settings: DictConfig) -> dict[str, str]:
    """The settings of plugins' parts that are not chosen."""
    found: dict[str, str] = {}
    for registry in (*CHOSEN_BY_NAME, CRITERIA, OPTIMIZERS):
        group, _, key = registry.key.partition(".")
        if own := registry.settings():
            named = signature(registry[settings[group][key]]).parameters
            found |= {f"{group}.{name}": f"has another {registry.key}" for name in own if name not in named}
    return found
