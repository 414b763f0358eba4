"""Round 0 of a sweep's settings: taken instead of trained, and nobody can tell."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mer_lightning.config.schema import Config
from mer_lightning.data.folds import read_folds
from mer_lightning.data.readers.registry import read_corpus
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.tasks import fit
from mer_lightning.training.crossval import FoldWorker
from mer_lightning.training.shared import take_round_0
from tests.reliability.kills import contents
from tests.tasks.helpers import Small, trained

SHORT = ("+experiment=enf", "pnao.rounds=0", "trainer.epochs=1")
Rounds = list[tuple[int, int]]
Change = Callable[[RunDirectory], object]


@pytest.fixture
def rounds(monkeypatch: pytest.MonkeyPatch) -> Rounds:
    """The (fold, round) that are trained from here on."""
    done, train = Rounds(), FoldWorker.train

    def noted(self: FoldWorker, fold: int, number: int) -> None:
        done.append((fold, number))
        train(self, fold, number)

    monkeypatch.setattr(FoldWorker, "train", noted)
    return done


def test_a_run_that_took_round_0_is_as_if_it_had_trained_it(
    small: Small, tmp_path: Path, rounds: Rounds, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    sweep, common = (
        tmp_path / "sweep",
        ("trainer.precision=64-true", "data.balanced=true", "trainer.epochs=2"),
    )
    trained(small("+experiment=enf", "pnao.rounds=0", *common), sweep / "a")
    mine = small("+experiment=pnao", *common, "pnao.rounds=1", "ensemble=logit", "pnao.guard=none")
    alone = trained(mine, tmp_path / "alone")
    monkeypatch.setattr(fit, "in_a_sweep", lambda: True)
    monkeypatch.setattr(fit, "sweep_folder", lambda: sweep)
    rounds.clear()
    capsys.readouterr()
    shared = trained(mine, sweep / "b")
    assert rounds == [(0, 1), (1, 1)]
    told = [line for line in capsys.readouterr().out.splitlines() if "round 0 is the same" in line]
    assert told == ["note: round 0 is the same in a and taken from there (fold 0, 1)"]
    assert contents(shared.path) == contents(alone.path)


def test_a_control_begins_as_its_pnao_run(small: Small, tmp_path: Path, rounds: Rounds) -> None:
    """Outside of sweeps, too."""
    common = ("pnao.rounds=1", "trainer.epochs=1")
    trained(small("+experiment=pnao", *common), tmp_path / "pnao")
    rounds.clear()
    trained(small("+experiment=random", *common), tmp_path / "random")
    assert rounds == [(0, 1), (1, 1)]


@pytest.fixture
def other(small: Small, tmp_path: Path) -> RunDirectory:
    """A short run."""
    return trained(small(*SHORT), tmp_path / "other")


def taken(config: Config, tmp_path: Path, other: RunDirectory) -> list[int]:
    """The folds whose round 0 a new run takes from a copy of another; the drawn folds are the other's."""
    corpus, run = read_corpus(config.data), RunDirectory(tmp_path / "new")
    shutil.rmtree(run.path, ignore_errors=True)
    folds = fit.saved_or_drawn_folds(config, run, corpus)
    take_round_0(config, run, corpus, folds, [other])
    assert not list(run.path.glob("fold_*/.*"))  # nothing half-written
    return [fold for fold in (0, 1) if run.round(fold, 0).done]


def changed(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1] + b"!")


@pytest.mark.usefixtures("folder")
def test_nothing_damaged_or_unfinished_is_taken(small: Small, tmp_path: Path, other: RunDirectory) -> None:
    config = small(*SHORT, "pnao.rate=0.1")
    assert taken(config, tmp_path, other) == [0, 1]
    changes: list[Change] = [
        lambda run: changed(run.round(0, 0).path / "module.safetensors"),
        lambda run: changed(run.round(0, 0).decisions("test")),
        lambda run: run.round(0, 0).checksums.unlink(),
        lambda run: run.round(0, 0).record.write_text("{}"),
    ]
    for number, change in enumerate(changes):
        copy = RunDirectory(Path(shutil.copytree(other.path, tmp_path / f"damaged_{number}")))
        change(copy)
        assert taken(config, tmp_path, copy) == [1]


def test_what_is_not_alike_or_cannot_be_read_is_left(
    small: Small, folder: Path, tmp_path: Path, other: RunDirectory
) -> None:
    for override in ("seed=1", "loss.alpha=0", "pnao.inputs=true", "fusion=mean", "callbacks=timer"):
        assert taken(small(*SHORT, override), tmp_path, other) == []
    config = small(*SHORT)
    for name in ("config.yaml", "data.json", "folds.csv"):
        copy = RunDirectory(Path(shutil.copytree(other.path, tmp_path / f"broken_{name}")))
        (copy.path / name).write_text("a: [")
        assert taken(config, tmp_path, copy) == []
    drawn = read_folds(other.folds, read_corpus(config.data))
    assert set(drawn.tolist()) == {0, 1}
    other.folds.write_text(other.folds.read_text().replace(",0\n", ",2\n").replace(",1\n", ",0\n"))
    assert taken(config, tmp_path, other) == []
    np.save(folder / "face.npy", np.load(folder / "face.npy") + 1)
    assert taken(config, tmp_path, other) == []
