"""Scores that a test needs some of."""

from mer_lightning.files.recorded import AllScores


def made_scores(dis: float | None = 0.5, dim: float | None = 1.0, com: float | None = 0.25) -> AllScores:
    """With the given ones, those of two emotions, and a skill where there is valence."""
    skill = None if dim is None else 0.1
    f1, recall = {"angry": 0.5, "sad": 0.4}, {"angry": 0.4, "sad": 0.6}
    return AllScores(dis, dim, com, 0.5, 0.45, 0.5, dim, skill, skill, skill, f1, recall)
