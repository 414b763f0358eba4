"""TensorBoard's files, read back with its own reader."""

from collections.abc import Callable
from pathlib import Path

import pytest

from mer_lightning.config.schema import Config
from mer_lightning.files.run_directory import RunDirectory
from tests.views.helpers import interrupted, trained

accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")


def test_its_scalars_are_the_runs(small: Callable[..., Config], tmp_path: Path) -> None:
    config = small("+experiment=pnao", "pnao.rounds=1", "trainer.epochs=2", "logger=tensorboard")
    run = RunDirectory(tmp_path / "run")
    interrupted(config, run.path, fold=1, number=1)
    trained(config, run.path)
    events = accumulator.EventAccumulator(str(run.tensorboard)).Reload()
    results = run.read_results()
    com = events.Scalars("round/com")
    assert [e.step for e in com] == [0, 1]  # once each, though the run was interrupted
    assert [e.value for e in com] == pytest.approx([r.validation.com for r in results.rounds])
    assert [e.step for e in events.Scalars("fold_0/loss")] == [1, 2, 3, 4]
    assert [e.step for e in events.Scalars("fold_1/loss")] == [1, 2, 3, 4]
    assert events.Scalars("best/com")[0].value == pytest.approx(results.validation.com)
    assert set(events.Tags()["images"]) == {f"figures/{p.stem}" for p in run.figures.glob("*.png")}
