"""Lightning's loggers and callbacks by configuration alone: every row once, also of an interrupted run."""

from collections.abc import Callable
from pathlib import Path

import pytest

from mer_lightning.config.schema import Config
from mer_lightning.errors import UserError
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.training.outcome import read_record
from tests.tasks.helpers import table
from tests.views.helpers import interrupted, trained

Small = Callable[..., Config]
FAST = ("+experiment=pnao", "pnao.rounds=1", "trainer.epochs=2")
LIGHTNINGS = "lightning.pytorch.callbacks"


def test_several_loggers_get_the_same_rows_once(small: Small, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    config = small(
        *FAST, "logger=[csv,tensorboard]", "+logger.more._target_=lightning.pytorch.loggers.CSVLogger"
    )
    assert list(config.logger) == ["csv", "tensorboard", "more"]
    run = RunDirectory(tmp_path / "run")
    interrupted(config, run.path, fold=1, number=1)
    trained(config, run.path)
    results = run.read_results()
    files = sorted(run.path.glob("csv/version_*/metrics.csv"))
    assert len(files) == 2  # one for each process
    rows = [row for file in files for row in table(file)]
    for fold in range(2):
        history = [e for number in range(2) for e in read_record(run.round(fold, number)).history]
        told = [row for row in rows if row.get(f"fold_{fold}/com")]
        assert [float(row["epoch"]) for row in told] == [1, 2, 3, 4]
        for name in ("com", "loss", "val_loss", "lr"):
            assert [float(row[f"fold_{fold}/{name}"]) for row in told] == pytest.approx(
                [e[name] for e in history]
            )
    com = [float(row["round/com"]) for row in rows if row.get("round/com")]
    assert com == pytest.approx([entry.validation.com for entry in results.rounds])
    assert len([row for row in rows if row.get("best/com")]) == 1
    more = [row for file in run.path.glob("lightning_logs/*/metrics.csv") for row in table(file)]
    assert len(more) == len(rows)
    assert list(run.tensorboard.iterdir())


def test_callbacks_by_configuration_alone(small: Small, tmp_path: Path) -> None:
    config = small(
        *FAST,
        "callbacks=[lr_monitor,checkpoint,timer]",
        f"callbacks.bar._target_={LIGHTNINGS}.RichProgressBar",
        "logger=csv",
    )
    run = trained(config, tmp_path / "run")
    rows = [row for file in run.path.glob("csv/*/metrics.csv") for row in table(file)]
    monitored = [key for key in rows[0] if key.startswith("fold_0/lr-AdamW")]
    assert len([row for row in rows if row[monitored[0]]]) == 4
    assert len(list(run.callbacks.glob("fold_*_round_*/checkpoints/*.ckpt"))) == 4
    plain = trained(small(*FAST), tmp_path / "plain").read_results()
    assert plain.rounds[1].validation == run.read_results().rounds[1].validation


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        ([f"callbacks.swa._target_={LIGHTNINGS}.StochasticWeightAveraging", "callbacks.swa.swa_lrs=0.1"],
         r"callbacks\.swa: StochasticWeightAveraging changes the weights"),
        (["callbacks.x._target_=os.mkdir", "callbacks.x.path=owned"], r"os\.mkdir is no Callback"),
        (["callbacks.x._target_=no.such"], r"callbacks\.x: no\.such cannot be made"),
        (["callbacks.x.y=1"], r"callbacks\.x: expected a class"),
        ([f"callbacks.x._target_={LIGHTNINGS}.Timer", "callbacks.x.y=1"], r"x: .*Timer cannot be made"),
        (["logger=csv", "+logger.csv.y=1"], r"logger\.csv: .*CSVLogger cannot be made"),
        (["+logger.x._target_=os.mkdir"], r"os\.mkdir is no Logger"),
        (["logger=wandb", "+logger.wandb.mod=offline"], r"logger\.wandb\.mod; did you mean 'mode'"),
    ],
)  # fmt: skip
def test_what_cannot_be_made_is_known_before_the_training(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overrides: list[str], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=told):
        trained(small(*FAST, *overrides), tmp_path / "run")
    assert not list(tmp_path.glob("run/fold_*"))
    assert not (tmp_path / "owned").exists()
