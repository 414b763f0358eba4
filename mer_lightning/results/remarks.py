"""What scores hide, in words: emotions never recognised, valence worse than a constant, Com's units."""

from collections.abc import Sequence
from statistics import pstdev

from mer_lightning.files.recorded import AllScores, Results
from mer_lightning.model.metrics import DIM_WEIGHT
from mer_lightning.results.priors import of_test_sets


def score_remarks(results: Results, validation: str) -> list[str]:
    """Sentences on the chosen round's scores; none where there is nothing to say.

    validation: what the part that chooses the round is called.
    """
    parts = {validation: results.validation} | results.test
    said = [*map(unrecognised, parts, parts.values()), *map(unskilled, parts, parts.values())]
    return [*filter(None, said), *of_test_sets(results), *units_of_com(results, validation)]


def unrecognised(part: str, scores: AllScores) -> str:
    """Names the emotions that occur in a part and are never recognised; "" if all are."""
    names = [name for name, recall in scores.recall.items() if recall == 0]
    if not names:
        return ""
    verb = "is" if len(names) == 1 else "are"
    return (
        f"{listed(names)} {verb} never recognised on {part}: UAR is {scores.uar:.4f}, which weighted F1 "
        f"({scores.dis:.4f}) hides."
    )


def unskilled(part: str, scores: AllScores) -> str:
    """Says where the valences are worse than one value for all; "" elsewhere."""
    if scores.skill is None or scores.skill >= 0:
        return ""
    return (
        f"Valence on {part} is worse than a constant: its squared error ({scores.dim:.4f}) is above that of "
        f"the training part's mean (skill {scores.skill:.3f})."
    )


def units_of_com(results: Results, validation: str) -> list[str]:
    """A sentence where 0.25 Dim outweighs Dis in Com, by its size or by its spread over the rounds."""
    scores = [r.validation for r in results.rounds]
    pairs = [(s.dis, DIM_WEIGHT * s.dim) for s in scores if s.dis is not None and s.dim is not None]
    if len(pairs) < len(scores):
        return []
    dis, dim = pairs[results.best_round]
    spread = [pstdev(values) for values in zip(*pairs, strict=True)]
    if dim > dis:
        why = f"is larger than Dis ({dim:.4f} against {dis:.4f})"
    elif spread[1] > spread[0]:
        why = f"varies more over the rounds than Dis (by {spread[1]:.4f} against {spread[0]:.4f})"
    else:
        return []
    return [
        f"0.25 Dim {why} on {validation}: Com follows the units of the valence labels. The "
        "selection score (trainer.monitor=score), which stops training and chooses the round, does not."
    ]


def listed(names: Sequence[str]) -> str:
    """``a, b and c``."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
