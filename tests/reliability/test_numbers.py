"""Odd data and odd numbers through a whole small experiment: right results, or an error that says why not."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mer_lightning import load
from mer_lightning.errors import UserError
from mer_lightning.files.recorded import Results
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.model import losses
from mer_lightning.model.losses import emotion_loss
from mer_lightning.report.report import write_run_report
from mer_lightning.tasks import fit
from tests.conftest import SMALL, composed

N = 48


@pytest.fixture(autouse=True)
def no_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without each run's page, whose figures take longer than its training; ``page`` writes one."""
    monkeypatch.setattr(fit, "write_run_report", lambda directory: None)


def page(tmp_path: Path) -> str:
    """The run's page, with all of its figures."""
    directory = RunDirectory(tmp_path / "run")
    write_run_report(directory)
    return directory.report.read_text(encoding="utf-8")


def fitted(tmp_path: Path, *overrides: str, **data: Any) -> Results:
    """The results on made-up data."""
    return run(tmp_path, *made(tmp_path, **data), *overrides)


def made(
    tmp_path: Path,
    levels: int = 2,
    shared: int = 1,
    classes: int = 3,
    width: int = 4,
    scale: float = 1.0,
    valence: bool = True,
    n: int = N,
    folds: Sequence[int] | None = None,
) -> tuple[str, str]:
    """Made-up data in a feature folder; the overrides that name its sets."""
    rng = np.random.default_rng(0)
    root = tmp_path / "data"
    root.mkdir()
    emotion = np.arange(n) % classes
    sets = [f"level{i}" for i in range(levels)], [f"shared{i}" for i in range(shared)]
    for name in (*sets[0], *sets[1]):
        array = scale * (rng.normal(size=(classes, width))[emotion] + rng.normal(size=(n, width)))
        np.save(root / f"{name}.npy", array.astype(np.float32))
    with (root / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["utterance_id", "emotion", "valence", "split", "fold"])
        for i in range(n):
            split = "test" if i >= n - classes else "train"
            fold = (i // classes) % 2 if folds is None else folds[i]
            writer.writerow([f"u{i}", f"e{emotion[i]}", rng.normal() if valence else "", split, fold])
    return f"data.levels={as_list(sets[0])}", f"data.shared={as_list(sets[1])}"


def as_list(names: Sequence[str]) -> str:
    return f"[{','.join(names)}]"


def run(tmp_path: Path, *overrides: str) -> Results:
    """The results of one epoch and one pruning round, all numbers looked at."""
    data = ("data=folder", f"data.root={tmp_path / 'data'}", "data.folds=column")
    directory = RunDirectory(tmp_path / "run")
    fit.run(
        composed("+experiment=pnao", *data, *SMALL, "trainer.epochs=1", "pnao.rounds=1", *overrides),
        directory,
    )
    with directory.predictions.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        numbers = {
            k: float(v or 0) for k, v in row.items() if k.startswith(("posterior_", "weight_", "predicted_v"))
        }
        assert np.isfinite(list(numbers.values())).all()
        for kind in ("posterior_", "weight_"):
            assert sum(v for k, v in numbers.items() if k.startswith(kind)) == pytest.approx(1, abs=1e-4)
    assert load(directory.path).features
    return directory.read_results()


@pytest.mark.parametrize("levels", [1, pytest.param(12, marks=pytest.mark.soak)])
@pytest.mark.parametrize("shared", [0, 2])
def test_any_number_of_feature_sets(tmp_path: Path, levels: int, shared: int) -> None:
    results = fitted(tmp_path, levels=levels, shared=shared)
    assert len(results.data.levels) == levels
    assert len(results.data.shared) == shared
    assert results.rounds[1].parameters < results.rounds[0].parameters


@pytest.mark.parametrize("fusion", ["attention", "linear"])
def test_one_level_alone_under_every_fusion(tmp_path: Path, fusion: str) -> None:
    weights = ("fusion.weights=[2]",) if fusion == "linear" else ()
    assert fitted(tmp_path, f"fusion={fusion}", *weights, levels=1, shared=0).best_round in (0, 1)


def test_forty_emotions(tmp_path: Path) -> None:
    results = fitted(tmp_path, classes=40, n=160)
    assert len(results.data.classes) == 40
    assert 0 <= results.validation.dis <= 1


def test_one_emotion_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has 1 emotions and needs two"):
        fitted(tmp_path, classes=1)
    assert not (tmp_path / "run").exists() or not list((tmp_path / "run").glob("fold_*"))


def test_an_emotion_missing_in_a_fold_is_said_and_trained_without(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folds = [0 if i % 3 == 2 else (i // 3) % 2 for i in range(N)]  # e2 is in fold 0 alone
    assert fitted(tmp_path, folds=folds).folds == 2
    assert "note: fold 0: no e2 in its training part" in capsys.readouterr().out


@pytest.mark.parametrize("size", [1, 10_000])
def test_any_size_of_batch(tmp_path: Path, size: int) -> None:
    assert fitted(tmp_path, f"trainer.batch_size={size}").validation.com is not None


def test_no_valence_at_all(tmp_path: Path) -> None:
    results = fitted(tmp_path, "trainer.batch_size=1", valence=False)
    assert results.validation.dim is None
    assert results.validation.com is None
    assert results.validation.dis is not None
    assert "<img" in page(tmp_path)


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e37])
def test_features_of_any_scale(tmp_path: Path, scale: float) -> None:
    assert 0 <= fitted(tmp_path, scale=scale).validation.dis <= 1


def test_features_of_one_dimension(tmp_path: Path) -> None:
    assert fitted(tmp_path, width=1).data.levels == {"level0": 1, "level1": 1}


@pytest.mark.parametrize("clip", ["0", "1"])
def test_a_loss_that_is_no_number_names_the_epoch_and_the_likely_cause(tmp_path: Path, clip: str) -> None:
    with pytest.raises(UserError, match=r"fold 0, round 0: .* batch 1, .* epoch [01]: lower trainer.learn"):
        fitted(tmp_path, "trainer.learning_rate=1e38", f"trainer.gradient_clip={clip}", "trainer.epochs=2")
    left = [p for p in (tmp_path / "run").rglob("*") if p.name.startswith(("round_", ".round_"))]
    assert not left  # nothing of the round that failed


def test_an_infinite_gradient_is_told_by_the_batch_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = 6  # an epoch's: 22 or 23 utterances by 4

    class Infinite(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, loss: torch.Tensor) -> torch.Tensor:
            return loss.clone()

        @staticmethod
        def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
            return gradient * float("inf")

    def loss(posteriors: torch.Tensor, *target: Any) -> torch.Tensor:
        value = emotion_loss(posteriors, *target)
        if not posteriors.requires_grad:  # validation's
            return value
        calls.append(1)
        return Infinite.apply(value) if len(calls) == batches + 2 else value

    calls: list[int] = []
    monkeypatch.setattr(losses, "emotion_loss", loss)
    with pytest.raises(UserError, match=r"the loss became nan in batch 3 of epoch 1"):
        fitted(tmp_path, "trainer.batch_size=4", "trainer.epochs=3")


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_a_feature_that_is_no_number_is_named_before_training(tmp_path: Path, value: float) -> None:
    sets = made(tmp_path)
    array = np.load(tmp_path / "data" / "level0.npy")
    array[7, 2] = value
    np.save(tmp_path / "data" / "level0.npy", array)
    with pytest.raises(UserError, match=r"level0\.npy: NaN or infinity in row 7"):
        run(tmp_path, *sets)


def test_features_too_large_to_decide_on_are_refused_not_answered_with_nan(tmp_path: Path) -> None:
    fitted(tmp_path, "data.clip=null", scale=1e-30)
    predictor = load(tmp_path / "run")
    rows = {name: np.zeros((3, d), np.float32) for name, d in predictor.features.items()}
    rows["level0"][1] = 3e38
    with pytest.raises(UserError, match=r"no finite decision for row 1"):
        predictor.predict(rows)


def test_features_far_out_are_clipped_and_decided_on(tmp_path: Path) -> None:
    fitted(tmp_path, scale=1e-30)
    predictor = load(tmp_path / "run")
    rows = {name: np.zeros((3, d), np.float32) for name, d in predictor.features.items()}
    rows["level0"][1] = 3e38
    assert np.isfinite(predictor.predict(rows).posterior).all()


def test_a_valence_that_float32_cannot_hold(tmp_path: Path) -> None:
    sets = made(tmp_path)
    labels = tmp_path / "data" / "labels.csv"
    rows = list(csv.reader(labels.read_text().splitlines()))
    rows[5][2] = "1e300"
    labels.write_text("\n".join(",".join(row) for row in rows) + "\n")
    with pytest.raises(UserError, match=r"labels\.csv, line 6: valence '1e300'"):
        run(tmp_path, *sets)
