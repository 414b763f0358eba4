"""Rounds of a run that a disk or a copy damaged: noticed, named, and trained again to the same result."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mer_lightning.errors import UserError
from mer_lightning.files import checksums
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.tasks import fit
from tests.reliability.conftest import Finished
from tests.reliability.kills import contents


def cut_short(content: bytes) -> bytes:
    return content[: len(content) // 2]


def one_bit_flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def unfinished(finished: Finished, path: Path) -> RunDirectory:
    """A copy as if the run had been killed before its last round on one fold."""
    run = RunDirectory(shutil.copytree(finished.run.path, path))
    run.results.unlink()
    shutil.rmtree(run.path / "fold_1" / "round_2")
    return run


@pytest.mark.parametrize("damage", [cut_short, one_bit_flipped])
@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("fold_0/round_0/round.json", "starting again"),
        ("fold_0/round_2/network.safetensors", "going on from round 1"),
        ("fold_0/round_1/network.json", "going on from round 0"),
        ("fold_1/round_1/module.safetensors", "going on from round 0"),
        ("fold_1/round_1/test.safetensors", "going on from round 0"),
        ("fold_1/round_0/SHA256SUMS", ""),
    ],
)
def test_a_damaged_round_is_trained_again_to_the_same_result(
    finished: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    name: str, says: str, damage: Callable[[bytes], bytes],
) -> None:  # fmt: skip
    run = unfinished(finished, tmp_path / "run")
    path = run.path / name
    path.write_bytes(damage(path.read_bytes()))
    fit.run(finished.config, run)
    told = capsys.readouterr().out
    assert told.count("is damaged") == 1
    assert f"{path} is damaged, its hash is another: {says}" in told or path.name == "SHA256SUMS"
    assert contents(run.path) == contents(finished.run.path)


def test_whole_rounds_are_neither_named_nor_trained_again(
    finished: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = unfinished(finished, tmp_path / "run")
    whole = [*run.path.glob("fold_*/round_*/round.json")]
    times = [path.stat().st_mtime_ns for path in whole]
    (run.path / "fold_0" / "round_0" / "notes of mine.txt").write_text("kept")
    (run.path / "fold_0" / "round_0" / "._round.json").write_text("a file system's own")
    fit.run(finished.config, run)
    assert len(whole) == 5
    assert [path.stat().st_mtime_ns for path in whole] == times
    assert "damaged" not in capsys.readouterr().out


def test_a_round_that_may_not_be_read_is_no_damage(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    run = unfinished(finished, tmp_path / "run")
    monkeypatch.setattr(checksums, "sha256", refused)
    with pytest.raises(UserError, match=r"cannot be read: Permission denied; the round in it is kept"):
        run.unmark_damage()
    assert len([*run.path.glob("fold_*/round_*/SHA256SUMS")]) == 5


def test_no_round_beyond_a_gap_counts(finished: Finished, tmp_path: Path) -> None:
    run = unfinished(finished, tmp_path / "run")
    shutil.rmtree(run.path / "fold_0" / "round_1")
    assert run.unmark_damage() == []
    assert run.round(0, 0).done
    assert not run.round(0, 2).done  # it was trained on from the round that is gone
    assert run.round(1, 1).done


def test_rounds_after_one_that_is_missing_do_not_count(finished: Finished, tmp_path: Path) -> None:
    run = unfinished(finished, tmp_path / "run")
    shutil.rmtree(run.path / "fold_0" / "round_0")
    fit.run(finished.config, run)
    assert contents(run.path) == contents(finished.run.path)
