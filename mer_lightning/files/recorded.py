"""The shape that JSON must have before it is used: ``results.json``, and a network's description."""

import math
from typing import Any

NUMBER = (int, float)
SCORE = (int, float, type(None))
SCORES = {"dis": SCORE, "dim": SCORE, "com": SCORE}
ROUND = {
    "round": int,
    "parameters": int,
    "parameters_ratio": NUMBER,
    "macs": int,
    "seconds": NUMBER,
    "validation": SCORES,
    "test": {...: SCORES},  # ...: whatever the keys are
}
RESULTS = {
    "experiment": str,
    "seed": int,
    "folds": int,
    "data": {"name": str, "classes": [str], "levels": {...: int}, "shared": {...: int}, "n": {...: int}},
    "rounds": [ROUND],
    "best_round": int,
    "validation": SCORES,
    "test": {...: SCORES},
    "versions": {...: str},
    "seconds": NUMBER,
}

ARCHITECTURE = {
    "levels": {...: int},
    "shared": {...: int},
    "widths": {...: int},
    "classes": int,
    "dimension": int,
    "layers": int,
    "heads": int,
    "dropout": NUMBER,
}


def checked_results(results: Any) -> dict[str, Any]:
    """``results`` itself. Raises ValueError, with the place, where it is not as a finished run writes it."""
    check_shape(results, RESULTS, "")
    rounds = results["rounds"]
    if not rounds or [r["round"] for r in rounds] != list(range(len(rounds))):
        raise ValueError("rounds are not numbered 0, 1, ...")
    if results["best_round"] not in range(len(rounds)):
        raise ValueError("best_round is none of its rounds")
    if any(r["test"].keys() != results["test"].keys() for r in rounds):
        raise ValueError("its rounds have other test sets than it has")
    for r in rounds:
        check_shape(r.get("notes", []), [str], "notes")
    return dict(results)


def check_shape(value: Any, shape: Any, where: str) -> None:
    """A ValueError unless ``value`` has the shape: a dict or list of shapes, or a type."""
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            raise ValueError(f"{where or 'it'} is no object")
        every = shape.get(...)
        for key in shape.keys() - {...} if every is None else value:
            if key not in value:
                raise ValueError(f"{where or 'it'} has no {key!r}")
            check_shape(value[key], shape[key] if every is None else every, f"{where}.{key}".lstrip("."))
    elif isinstance(shape, list):
        if not isinstance(value, list):
            raise ValueError(f"{where} is no list")
        for each in value:
            check_shape(each, shape[0], where)
    elif not isinstance(value, shape) or isinstance(value, bool) or _odd(value):
        raise ValueError(f"{where} is {str(value)[:40]!r}")


def _odd(value: Any) -> bool:
    """Whether it is a number, and yet none."""
    return isinstance(value, float) and not math.isfinite(value)
