"""``make soak``: 50 kills at random moments change no number of a run."""

from pathlib import Path

import pytest

from tests.reliability.kills import survive


@pytest.mark.soak
@pytest.mark.parametrize("workers", [1, 2])
def test_kills_change_no_number(tmp_path: Path, workers: int) -> None:
    survived = survive(tmp_path, count=50, seed=workers, workers=workers)
    assert survived.kills >= 50
    assert survived.while_writing >= 15
    assert survived.differences == []
