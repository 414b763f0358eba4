"""What a dashboard is told: everything, once, whatever happens to the run or to the dashboard."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mer_lightning.config.schema import Config
from mer_lightning.errors import UserError
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.model.module import EmotionModule
from mer_lightning.tasks import fit
from mer_lightning.training.outcome import read_record
from mer_lightning.views.identity import shown_settings
from mer_lightning.views.scalars import EPOCH, ROUND
from mer_lightning.views.tracker import Memory, Sink, Tracker
from tests.views.helpers import Listener, interrupted, listen, trained

Small = Callable[..., Config]
FAST = ("+experiment=pnao", "pnao.rounds=1", "trainer.epochs=2", "logger=wandb", "logger.wandb.mode=offline")


def untracked(config: Config) -> Config:
    return replace(config, logger={})


@pytest.fixture(autouse=True, scope="module")
def without_pictures() -> Iterator[None]:
    """They take longer than the training, and nobody looks at them here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, "write_run_report", lambda run: None)
        yield


def as_set(rows: Any) -> set[str]:
    """Rows without their order and without what a clock says."""
    return {
        json.dumps([r.axis, r.at, {k: v for k, v in r.values.items() if "seconds" not in k}]) for r in rows
    }


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> tuple[Listener, RunDirectory, Config]:
    """A run that a dashboard watched from the beginning to the end."""
    from tests.conftest import SMALL, composed, folder_overrides, write_folder

    root = tmp_path_factory.mktemp("once")
    config = composed(*folder_overrides(write_folder(root / "data")), *SMALL, *FAST)
    with pytest.MonkeyPatch.context() as patch:
        listener = listen(patch, Listener())
        run = trained(config, root / "run")
    return listener, run, config


def test_a_dashboard_that_cannot_be_opened_is_a_note(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """W&B's own process, say, which a busy machine is slow to start; what it refuses is a mistake."""

    def broken(memory: Memory) -> Sink:
        raise TimeoutError("Failed to read port info after 30 seconds")

    tracker = Tracker(RunDirectory(tmp_path), "wandb", broken)
    tracker.start()
    tracker.start()
    assert capsys.readouterr().out.count("note: tracking ended (Failed to read port info after 30 s") == 1

    def refused(memory: Memory) -> Sink:
        raise UserError("who are you")

    with pytest.raises(UserError, match="who are you"):
        Tracker(RunDirectory(tmp_path), "wandb", refused).start()


def test_every_epoch_and_round_is_told_once(once: tuple[Listener, RunDirectory, Config]) -> None:
    listener, run, _ = once
    assert sorted(listener.rows) == list(range(len(listener.rows)))
    rows = list(listener.rows.values())
    for fold in range(2):
        told = [r for r in rows if r.axis == EPOCH and f"fold_{fold}/loss" in r.values]
        history = [e for number in range(2) for e in read_record(run.round(fold, number)).history]
        assert [r.at for r in told] == list(range(1, len(history) + 1))  # runs on over the rounds
        assert [r.values[f"fold_{fold}/loss"] for r in told] == [e["loss"] for e in history]
        assert [r.values[f"fold_{fold}/com"] for r in told] == [e["com"] for e in history]
    results = run.read_results()
    told = [r for r in rows if r.axis == ROUND]
    assert [r.at for r in told] == [0, 1]
    for row, entry in zip(told, results.rounds, strict=True):
        assert row.values["round/com"] == entry.validation.com
        assert row.values["round/parameters"] == entry.parameters
        assert row.values["round/fold_1/dis"] == entry.by_fold[1].dis
        assert row.values["round/test_test/dim"] == entry.test["test"].dim
    assert [f.results for f in listener.finished] == [results]
    assert listener.finished[0].path == run.path
    assert listener.closed == [False]


def test_a_continued_run_tells_the_rest(
    once: tuple[Listener, RunDirectory, Config], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole, _, config = once
    first, second = Listener(), Listener()
    listen(monkeypatch, first)
    interrupted(config, tmp_path / "run", fold=1, number=1)
    listen(monkeypatch, second)
    trained(config, tmp_path / "run")
    assert first.opened == second.opened  # one id
    assert first.rows
    assert not first.rows.keys() & second.rows.keys()
    both = first.rows | second.rows
    assert sorted(both) == list(range(len(whole.rows)))
    assert as_set(both.values()) == as_set(whole.rows.values())
    assert (first.closed, second.closed) == ([True], [False])
    assert (len(first.finished), len(second.finished)) == (0, 1)


def test_a_finished_run_is_told_later_and_then_never_again(
    once: tuple[Listener, RunDirectory, Config], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole, _, config = once
    run = trained(untracked(config), tmp_path / "run")
    results = run.results.read_bytes()
    listener = listen(monkeypatch, Listener())
    trained(config, run.path)
    assert as_set(listener.rows.values()) == as_set(whole.rows.values())
    assert len(listener.finished) == 1
    assert run.results.read_bytes() == results
    trained(config, run.path)
    assert len(listener.opened) == 1


def test_a_lost_dashboard_is_a_note_and_the_run_goes_on(
    once: tuple[Listener, RunDirectory, Config],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole, _, config = once
    broken = listen(monkeypatch, Listener(breaks_at=5))
    run = trained(config, tmp_path / "run")
    assert run.finished
    assert capsys.readouterr().out.count("note: tracking ended (the server is gone)") == 1
    assert (broken.closed, broken.finished) == ([True], [])
    again = listen(monkeypatch, Listener())
    trained(config, run.path)
    assert as_set((broken.rows | again.rows).values()) == as_set(whole.rows.values())
    assert len(again.finished) == 1


def test_members_of_a_combination_are_told_too(
    small: Small, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    listeners: list[Listener] = []

    def opener(config: Config, run: RunDirectory, name: str) -> Any:
        listeners.append(Listener())
        return listeners[-1].open

    monkeypatch.setattr("mer_lightning.views.tracking.opener", opener)
    config = small("+experiment=ustc_qw", "trainer.epochs=1", "logger=wandb", "logger.wandb.mode=offline")
    run = trained(config, tmp_path / "run")
    told = {listener.finished[0].path: listener for listener in listeners}
    members = sorted(run.members.iterdir())
    assert len(members) >= 2
    assert sorted(told) == sorted([run.path, *members])
    assert [r.axis for r in told[run.path].rows.values()] == [ROUND]  # no epochs of its own
    assert {r.axis for r in told[members[0]].rows.values()} == {EPOCH, ROUND}


@pytest.mark.parametrize("content", ["{", '{"rounds": null}', '{"folds": {"0": "x"}}', '{"id": 5}'])
def test_a_damaged_memory_is_a_mistake_to_mend(
    once: tuple[Listener, RunDirectory, Config], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str
) -> None:
    config = once[2]
    listen(monkeypatch, Listener())
    run = RunDirectory(tmp_path / "run")
    interrupted(config, run.path, fold=0, number=1)
    run.tracker("wandb").write_text(content)
    with pytest.raises(UserError, match=r"tracker_wandb.json.*delete it"):
        trained(config, run.path)


def test_the_settings_shown_name_no_places(
    once: tuple[Listener, RunDirectory, Config],
) -> None:
    config = once[2]
    assert str(config.data.root) not in json.dumps(shown_settings(config))
    assert shown_settings(config)["pnao"]["rate"] == config.pnao.rate
    assert config.data.root  # of the original nothing is gone


def test_epochs_are_told_when_they_end(small: Small, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A run that is killed within a round has told its epochs, and does not tell them again."""
    first, second = (Listener(), Listener())
    config = small(*FAST, "trainer.epochs=3")
    listen(monkeypatch, first)
    step, epochs = EmotionModule.on_train_epoch_start, iter(range(1000))

    def until(self: EmotionModule) -> None:
        if next(epochs) == 2:
            raise KeyboardInterrupt
        step(self)

    with monkeypatch.context() as patch:
        patch.setattr(EmotionModule, "on_train_epoch_start", until)
        with pytest.raises(KeyboardInterrupt):
            trained(config, tmp_path / "run")
    told = [(row.at, set(row.values)) for row in first.rows.values()]
    names = {f"fold_0/{name}" for name in ("loss", "val_loss", "lr", "dis", "dim", "com")}
    assert [at for at, values in told if names <= values] == [1, 2]
    listen(monkeypatch, second)
    run = trained(config, tmp_path / "run")
    rows = [*first.rows.values(), *second.rows.values()]
    assert not first.rows.keys() & second.rows.keys()
    losses = [r.values["fold_0/loss"] for r in rows if "fold_0/loss" in r.values]
    history = [e for number in range(2) for e in read_record(run.round(0, number)).history]
    assert losses == [e["loss"] for e in history]
