"""What happens to a run that is interrupted, finished, damaged, or not what it was."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from mer_lightning import load
from mer_lightning.errors import UserError
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.tasks import fit
from mer_lightning.training.crossval import FoldWorker
from tests.tasks.helpers import Small, trained, unfinish, without_timings


def test_a_killed_run_continues_to_the_same_results(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small("+experiment=pnao")
    whole = without_timings(trained(config, tmp_path / "whole").read_results())
    run, train, calls = RunDirectory(tmp_path / "killed"), FoldWorker.train, []

    def killed_at_fourth(self: FoldWorker, fold: int, number: int) -> None:
        calls.append((fold, number))
        if len(calls) == 4:
            raise KeyboardInterrupt
        train(self, fold, number)

    monkeypatch.setattr(FoldWorker, "train", killed_at_fourth)
    with pytest.raises(KeyboardInterrupt):
        fit.run(config, run)
    assert not run.finished
    left = sorted(p.name for p in run.path.glob("fold_*/*"))
    assert left == ["round_0", "round_0", "round_1"]
    fit.run(config, run)
    assert calls[4:] == [(1, 1), (0, 2), (1, 2)]
    assert without_timings(run.read_results()) == whole


def test_a_finished_run_is_left_alone_and_another_configuration_refused(small: Small, tmp_path: Path) -> None:
    run = trained(small("+experiment=enf"), tmp_path / "run")
    before = {p: p.stat().st_mtime_ns for p in run.path.rglob("*") if p.is_file() and p.name != ".lock"}
    fit.run(small("+experiment=enf"), run)
    with pytest.raises(UserError, match=r"another configuration \(seed: 0 there, 5 now\)"):
        fit.run(small("+experiment=enf", "seed=5"), run)
    assert before == {p: p.stat().st_mtime_ns for p in run.path.rglob("*") if p in before}


def test_a_second_process_in_one_directory_stops(small: Small, tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    with run.locked(), pytest.raises(UserError, match="another process"):
        fit.run(small("+experiment=enf"), run)


def test_a_damaged_network_is_noticed(small: Small, tmp_path: Path) -> None:
    run = trained(small("+experiment=enf"), tmp_path / "run")
    path = run.model / "fold_0.safetensors"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"fold_0\.safetensors: cannot be read \(possibly corrupt"):
        load(run.path)
    shutil.rmtree(run.model)
    with pytest.raises(UserError, match="no model here"):
        load(run.path)


def test_data_that_changed_are_not_trained_on(small: Small, folder: Path, tmp_path: Path) -> None:
    config = small("+experiment=pnao", "pnao.rounds=1")
    run = trained(config, tmp_path / "run")
    unfinish(run)
    labels = folder / "labels.csv"
    head, *rows = labels.read_text().splitlines()
    labels.write_text("\n".join([head, *rows[::-1]]) + "\n")
    with pytest.raises(UserError, match="the labels are not those"):
        fit.run(config, run)
    labels.write_text("\n".join([head, *rows]) + "\n")
    np.save(folder / "face.npy", np.load(folder / "face.npy") + 1)
    with pytest.raises(UserError, match="feature set 'face' are not those"):
        fit.run(config, run)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("config.yaml", "[1, 2]", "choose another hydra.run.dir"),
        ("config.yaml", "a: [", "choose another hydra.run.dir"),
        ("data.json", "{", "choose another hydra.run.dir"),
        ("folds.csv", "utterance_id,fold\nu000,", "start a new run"),
    ],
)
def test_damaged_files_of_a_run_are_named(
    small: Small, tmp_path: Path, name: str, content: str, says: str
) -> None:
    config = small("+experiment=pnao", "pnao.rounds=1")
    run = trained(config, tmp_path / "run")
    unfinish(run)
    (run.path / name).write_text(content)
    with pytest.raises(UserError, match=Path(name).name) as raised:
        fit.run(config, run)
    assert says in str(raised.value)


def test_a_damaged_results_file_is_named(small: Small, tmp_path: Path) -> None:
    run = trained(small("+experiment=enf"), tmp_path / "run")
    for content in ("{", "{}", "[]"):
        run.results.write_text(content)
        with pytest.raises(UserError, match=r"results\.json: cannot be read"):
            fit.run(small("+experiment=enf"), run)


def test_no_pickle_stays_and_others_may_read(small: Small, tmp_path: Path) -> None:
    run = trained(small("+experiment=enf"), tmp_path / "run")
    assert not list(run.path.rglob("*.ckpt"))
    for path in run.path.rglob("*.safetensors"):
        assert path.stat().st_mode & 0o044 == 0o044
