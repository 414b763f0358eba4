"""What a user is told of a mistake: the nearest key, Hydra's reason, and never to add keys with a +."""

import pytest
from hydra.errors import HydraException

from mer_lightning.config.mistakes import nearest, users_mistake
from tests.conftest import composed


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("trainer.lr", "trainer.learning_rate"),
        ("lr", "trainer.learning_rate"),
        ("trainer.bs", "trainer.batch_size"),
        ("epochs", "trainer.epochs"),
        ("pnao.raet", "pnao.rate"),
        ("rate", "pnao.rate"),
        ("extract.layers", "extract.hubert.layers"),
        ("trainer.optimizer.lr", "trainer.learning_rate"),
        ("fuson", "fusion"),
        ("pnao.foo", None),
        ("qwertz", None),
        ("", None),
    ],
)
def test_the_nearest_key(key: str, meant: str | None) -> None:
    assert nearest(key) == meant


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("lr=1", "unknown configuration key lr; did you mean trainer.learning_rate? (--cfg job shows all)"),
        (
            "pnao={raet:1}",
            "unknown configuration key pnao.raet; did you mean pnao.rate? (--cfg job shows all)",
        ),
        ("hydra.run.dri=x", "unknown configuration key hydra.run.dri (--cfg hydra shows all)"),
        ("+trainer.opt.x=1", "unknown configuration key trainer.opt.x (--cfg job shows all)"),
        (
            "+extract.hubert.layer=1",
            "unknown configuration key extract.hubert.layer; did you mean extract.hubert",
        ),
        (
            "trainer.epochs=[1]",
            "trainer.epochs=[1]: Value '[1]' of type 'list' could not be converted to Integer",
        ),
        ("data.levels=a", "data.levels=a: Invalid value assigned: str is not a ListConfig, list or tuple."),
        (
            "fusion=entrpy",
            "fusion=entrpy: expected one of attention, attention_calibrated, entropy, entropy_calibrated, "
            "linear, linear_fitted, mean; did you mean 'entropy'?",
        ),
        (
            "fusion=[mean,entropy]",
            "fusion=[mean,entropy]: fusion takes one choice, of several the last would cover the others; "
            "for a run of each: -m fusion=mean,entropy",
        ),
        ("+experiment=[pnao,enf]", "+experiment=[pnao,enf]: experiment takes one choice"),
        ("pnao.rounds=two", "pnao.rounds=two: Value 'two' of type 'str' could not be converted to Integer"),
        ("logger.wandb.mode=offline", "logger.wandb: no logger wandb is chosen; logger=wandb chooses one"),
        ("+fusion=mean", "fusion has a choice already: say fusion=NAME, without a +"),
        ("experiment=pnao", "experiment has no choice by default: say +experiment=NAME"),
        (
            "+pnao.rate=1",
            "Could not append to config. An item is already at 'pnao.rate'. Either remove + prefix",
        ),
        ("hydra/launcher=basci", "hydra/launcher=basci: expected one of basic"),
    ],
)
def test_what_is_told(override: str, told: str) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011  (of several kinds)
        composed(override)
    message = users_mistake(caught.value)
    assert message is not None
    assert message.startswith(told)
    assert "config use +" not in message
    assert "add a second" not in message


@pytest.mark.parametrize(
    ("message", "name"),
    [
        ("In 'hydra/launcher/slurm': Could not find 'hydra/launcher/submitit_slurm'", "submitit"),
        ("In 'hydra/config': Could not find 'hydra/launcher/joblib'", "joblib"),
        ("In 'hydra/sweeper/search': Could not find 'hydra/sweeper/optuna'", "optuna"),
    ],
)
def test_a_missing_extra_is_named(message: str, name: str) -> None:
    told = users_mistake(HydraException(message))
    assert told == f"{name} is not installed: pip install 'mer-lightning[{name}]'"
