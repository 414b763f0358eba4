"""Killed at random moments, a run goes on to the same files."""

import multiprocessing
import random
from pathlib import Path

import pytest

from tests.pnao.work import LAST, files, finish, slowly


@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.soak)])
def test_killed_at_random_moments(kills: int, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finish(whole)
    context = multiprocessing.get_context("forkserver")  # starts many processes for one import
    context.set_forkserver_preload(["tests.pnao.work"])
    survived = 0
    for seed in range(400):
        process = context.Process(target=slowly, args=(killed,))
        process.start()
        if survived < kills:
            process.join(random.Random(seed).uniform(0.02, 0.7))
            survived += process.is_alive()
            process.kill()
        process.join()
        done = [p.name for p in killed.glob("round_*") if (p / "SHA256SUMS").is_file()]
        if len(done) == LAST + 1 and survived < kills:
            for path in sorted(killed.glob("round_*"))[random.Random(seed).randrange(LAST + 1) :]:
                (path / "SHA256SUMS").unlink()  # more to do
        elif survived == kills and process.exitcode == 0:
            break
    assert survived == kills
    assert files(killed) == files(whole)
