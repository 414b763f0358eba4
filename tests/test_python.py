"""The package from Python: Lightning's own ways work on our module and data with its defaults."""

import inspect
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import (
    EarlyStopping,
    LearningRateMonitor,
    ModelCheckpoint,
    StochasticWeightAveraging,
    Timer,
)
from lightning.pytorch.loggers import CSVLogger

from mer_lightning import PNAO, EmotionModule, FeatureDataModule
from mer_lightning.errors import UserError
from mer_lightning.model.decisions import RowDecisions
from tests.conftest import composed, write_folder
from tests.tasks.helpers import table

LEVELS: dict[str, Any] = {"levels": ["low", "high"], "shared": ["face"], "folds": 2}
QUIET: dict[str, Any] = {
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "accelerator": "cpu",
    "max_epochs": 2,
}
SCORES = {"dis", "dim", "com"}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> FeatureDataModule:
    root = write_folder(tmp_path_factory.mktemp("python") / "data")
    return FeatureDataModule(root, **LEVELS)


def module(data: FeatureDataModule, **settings: Any) -> EmotionModule:
    L.seed_everything(0, verbose=False)
    return EmotionModule.for_data(data, dimension=8, **settings)


def trainer(folder: Path, **arguments: Any) -> L.Trainer:
    return L.Trainer(**(QUIET | {"default_root_dir": folder} | arguments))


def test_an_epoch_logs_what_the_history_has(data: FeatureDataModule, tmp_path: Path) -> None:
    emotion = module(data)
    logger = CSVLogger(tmp_path)
    trained = trainer(tmp_path, logger=logger, callbacks=[LearningRateMonitor("epoch")], log_every_n_steps=1)
    trained.fit(emotion, data)
    rows = table(Path(logger.log_dir) / "metrics.csv")
    for name in ("train/loss", "lr", "val/loss", "val/dis", "val/dim", "val/com", "val/score"):
        assert len([row for row in rows if row[name]]) == 2, name
    com = [float(row["val/com"]) for row in rows if row["val/com"]]
    assert com == pytest.approx([epoch["com"] for epoch in emotion.history])
    loss = [float(row["train/loss"]) for row in rows if row["train/loss"]]
    assert loss == pytest.approx([epoch["loss"] for epoch in emotion.history])


def test_the_validation_loss_is_the_training_loss_of_the_same_utterances(
    data: FeatureDataModule, tmp_path: Path
) -> None:
    emotion = module(data, dropout=0.0)
    (before,) = trainer(tmp_path).validate(emotion, data, verbose=False)
    batch = data.table(torch.device("cpu"))[torch.from_numpy(data.stopping_rows)]
    assert before["val/loss"] == pytest.approx(emotion.training_step(batch, 0).item(), rel=1e-5)


@pytest.mark.parametrize(
    "arguments",
    [
        {"fast_dev_run": True},
        {"limit_train_batches": 1, "limit_val_batches": 1},
        {"limit_val_batches": 0},
        {"overfit_batches": 1},
        {"num_sanity_val_steps": -1, "val_check_interval": 0.5},
        {"check_val_every_n_epoch": 2},
        {"profiler": "simple"},
        {"accumulate_grad_batches": 2, "gradient_clip_val": 1.0},
        {
            "callbacks": [
                StochasticWeightAveraging(1e-3, swa_epoch_start=1),
                Timer(),
                EarlyStopping("val/loss"),
            ]
        },
        {"max_epochs": 1, "precision": "64-true"},
    ],
    ids=lambda arguments: next(iter(arguments)),
)
def test_any_trainer_will_do(data: FeatureDataModule, tmp_path: Path, arguments: dict[str, Any]) -> None:
    small = FeatureDataModule.__new__(FeatureDataModule)
    small.__dict__.update(data.__dict__, batch_size=8, _table=None)
    emotion = module(data)
    before = emotion.state_dict()["network.branches.0.decoder.emotion.weight"].clone()
    trained = trainer(tmp_path, **arguments)
    trained.fit(emotion, small)
    assert not emotion.state_dict()["network.branches.0.decoder.emotion.weight"].equal(before)
    assert "train/loss" in trained.callback_metrics


def test_test_and_predict_say_the_same_as_scores_by_hand(data: FeatureDataModule, tmp_path: Path) -> None:
    emotion = module(data)
    trained = trainer(tmp_path)
    trained.fit(emotion, data)
    (told,) = trained.test(emotion, data, verbose=False)
    (decision,) = trained.predict(emotion, data)
    everyone = RowDecisions(torch.arange(60), decision)
    for name, value in vars(everyone.among(data.test_rows).scores(data.corpus)).items():
        assert told[f"test/test/{name}"] == pytest.approx(value, rel=1e-5)
    held_out: dict[str, Any] = vars(everyone.among(data.held_out_rows).scores(data.corpus))
    (validated,) = trained.validate(emotion, data, verbose=False)
    for name in SCORES:
        assert validated[f"val/{name}"] == pytest.approx(held_out[name], rel=1e-5)


@pytest.mark.parametrize("fold", [-1, 2])
def test_a_fold_that_is_not_there_is_refused(tmp_path: Path, fold: int) -> None:
    with pytest.raises(UserError, match=rf"fold={fold}: expected 0 to 1"):
        FeatureDataModule(write_folder(tmp_path / "data"), **LEVELS, fold=fold)


def test_without_a_test_set_the_held_out_fold_is_tested(tmp_path: Path) -> None:
    data = FeatureDataModule(write_folder(tmp_path / "data"), **LEVELS, tests=[], fold=1)
    (told,) = trainer(tmp_path).test(module(data), data, verbose=False)
    assert {name.rpartition("/")[0] for name in told} == {"test/held_out"}


def test_a_checkpoint_comes_back_even_of_a_narrowed_module(data: FeatureDataModule, tmp_path: Path) -> None:
    emotion = module(data, fusion="attention", weight_decay=0.01)
    pnao = PNAO(rate=0.9, rounds=1, monitor="val/com", mode="max", dirpath=tmp_path / "out")
    kept = ModelCheckpoint(tmp_path, monitor="val/com", mode="max", save_last=True, save_weights_only=True)
    for _ in pnao.rounds(emotion):
        trained = trainer(tmp_path, callbacks=[pnao, kept])
        trained.fit(emotion, data)
        kept = ModelCheckpoint(tmp_path, save_last=True)
    narrowest = tmp_path / "narrow.ckpt"
    trained.save_checkpoint(narrowest)
    again = EmotionModule.load_from_checkpoint(narrowest, weights_only=True)
    assert again.hparams["weight_decay"] == 0.01
    assert again.network.architecture == emotion.network.architecture
    assert pnao.history[1]["parameters"] < pnao.history[0]["parameters"]
    for name, tensor in emotion.state_dict().items():
        assert again.state_dict()[name].equal(tensor)


def test_its_defaults_are_the_command_lines() -> None:
    config = composed()
    groups = {
        **vars(config.network),
        **vars(config.loss),
        **vars(config.trainer),
        **vars(config.fusion),
    } | vars(config.pnao)
    settings = groups | {"network": config.network.kind, "fusion": config.fusion.kind}
    for name, parameter in inspect.signature(EmotionModule).parameters.items():
        if parameter.default not in (parameter.empty, None):
            assert parameter.default == settings[name], name
    data = vars(config) | vars(config.trainer) | vars(config.data)
    for name, parameter in inspect.signature(FeatureDataModule).parameters.items():
        if name not in ("levels", "shared", "reader", "fold", "settings", "classes"):
            assert parameter.default == data[name], name


def test_mistakes_say_what_is_wrong(data: FeatureDataModule) -> None:
    with pytest.raises(UserError, match=r"fusion\.kind=entropi.*did you mean 'entropy'"):
        module(data, fusion="entropi")
    with pytest.raises(TypeError, match="'wieght_decay'"):
        module(data, wieght_decay=0.1)
    with pytest.raises(UserError, match="levels is empty"):
        FeatureDataModule("x")
    assert module(data, fusion="linear", weights=[3.0, 1.0]).network.fusion.weights.tolist() == [0.75, 0.25]
