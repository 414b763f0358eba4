"""Run directories on a disk that is full, or may only be read: on a small tmpfs, which root may mount."""

import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mer_lightning.config.aside import FoldsConfig
from mer_lightning.config.mistakes import users_mistake
from mer_lightning.data.readers.registry import read_corpus
from mer_lightning.data.readers.store import write_store
from mer_lightning.errors import UserError
from mer_lightning.files.atomic import UNFINISHED
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.tasks import fit
from tests.conftest import composed, folder_overrides, write_folder
from tests.reliability.conftest import Finished
from tests.reliability.kills import contents
from tests.reliability.targets import without_figures


def mount(*arguments: str) -> bool:
    """Whether it could be done."""
    if not sys.platform.startswith("linux") or shutil.which("mount") is None:
        return False
    return subprocess.run(["mount", *arguments], capture_output=True).returncode == 0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, as large as ``sized`` says."""
    path = tmp_path / "disk"
    path.mkdir()
    if not mount("-t", "tmpfs", "-o", "size=64k", "tmpfs", str(path)):
        pytest.skip("a tmpfs cannot be mounted here: that takes root on Linux")
    yield path
    subprocess.run(["umount", "--lazy", str(path)], check=True)


def sized(disk: Path, kilobytes: int, mode: str = "rw") -> None:
    assert mount("-o", f"remount,{mode},size={kilobytes}k", str(disk))


def written(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(("workers", "sizes"), [(1, range(8, 2000, 40)), (2, (60, 2000))])
def test_a_full_disk_stops_a_run_and_space_lets_it_go_on(
    finished: Finished, disk: Path, monkeypatch: pytest.MonkeyPatch,
    workers: int, sizes: Iterable[int],
) -> None:  # fmt: skip
    monkeypatch.setattr(fit, "write_run_report", without_figures)
    config = replace(finished.config, folds=FoldsConfig(workers=workers))
    run = RunDirectory(disk / "run")
    stops: list[str] = []
    before: dict[Path, bytes] = {}
    for kilobytes in sizes:
        sized(disk, kilobytes)
        try:
            fit.run(config, run)
            break
        except Exception as error:
            stops.append(str(users_mistake(error)))
        whole = written(disk)
        assert not [path for path in whole if UNFINISHED in str(path)]
        assert whole.items() >= before.items()
        before = whole
    assert run.finished
    assert len(stops) >= (5 if workers == 1 else 1)
    assert all("no space" in stop.lower() for stop in stops), stops
    assert contents(run.path) == contents(finished.run.path)


def test_a_run_that_may_only_be_read_is_left_as_it_is(
    finished: Finished, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit, "write_run_report", without_figures)
    sized(disk, 4000)
    run = RunDirectory(shutil.copytree(finished.run.path, disk / "run"))
    run.results.unlink()
    shutil.rmtree(run.round(1, 2).path)
    before = written(disk)
    sized(disk, 4000, "ro")
    with pytest.raises(UserError, match="cannot be written: Read-only file system"):
        fit.run(finished.config, run)
    assert written(disk) == before
    sized(disk, 4000)
    fit.run(finished.config, run)
    assert contents(run.path) == contents(finished.run.path)


def test_a_store_that_does_not_fit_is_not_there(disk: Path, tmp_path: Path) -> None:
    data = write_folder(tmp_path / "large", n=3000)
    corpus = read_corpus(composed(*folder_overrides(data)).data)
    with pytest.raises(UserError, match=r"store: no space is left on its disk"):
        write_store(corpus, disk / "store")
    assert list(disk.iterdir()) == []
    sized(disk, 4000)
    assert write_store(corpus, disk / "store").is_dir()
