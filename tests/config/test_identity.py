"""What tells runs apart is marked once, in the schema, and all who compare runs agree on it."""

from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

from mer_lightning.config.identity import beginning, flat, identity, marks, recorded, unswept
from mer_lightning.config.schema import Config
from mer_lightning.errors import UserError
from mer_lightning.report.systems import settings_of
from mer_lightning.tasks.fit import differences
from mer_lightning.tasks.sweep import refuse_unnamed
from mer_lightning.views.identity import shown_settings
from tests.conftest import composed

PLAIN = composed()


@pytest.mark.parametrize(
    "override",
    ["trainer.devices=2", "trainer.nodes=2", "trainer.threads=3", "trainer.accelerator=cpu",
     "folds.workers=2", "logger=wandb", "+logger.x._target_=y.z", "data.resident_gb=1", "task=report",
     "demo.port=80", "format=torch", "extract.clips=3", "report.runs=x", "model.fold=1", "input=x",
     "output=x"],
)  # fmt: skip
def test_where_and_how_fast_a_run_is_made_is_no_part_of_it(override: str) -> None:
    other = composed(override)
    assert other != PLAIN
    assert identity(other) == identity(PLAIN)
    assert differences(recorded(PLAIN), recorded(other)) == []
    assert system(other) == system(PLAIN)
    assert shown_settings(other) == shown_settings(PLAIN)
    with pytest.raises(UserError, match="cannot be swept"):
        refuse_unnamed([f"{override.partition('=')[0]}=1,2"])


@pytest.mark.parametrize(
    "override", ["pnao.rate=0.1", "trainer.precision=64-true", "fusion=mean", "data.folds=3"]
)
def test_what_changes_the_results_is_part_of_it(override: str) -> None:
    other = composed(override)
    key = next(
        key for key in flat(recorded(other)) if flat(recorded(other))[key] != flat(recorded(PLAIN))[key]
    )
    assert [found.partition(":")[0] for found in differences(recorded(PLAIN), recorded(other))] == [key]
    assert system(other) != system(PLAIN)
    assert shown_settings(other) != shown_settings(PLAIN)
    refuse_unnamed([f"{key}=1,2"])


@pytest.mark.parametrize(
    ("override", "same"),
    [("pnao.rate=0.1", True), ("pnao=paper", True), ("+experiment=random", True), ("+experiment=enf", True),
     ("ensemble=logit", True), ("folds.workers=2", True), ("+experiment=scratch", False),
     ("pnao.inputs=true", False), ("pnao.optimiser=carry", False), ("loss.alpha=0", False),
     ("seed=1", False), ("network.attention=8", False), ("trainer.monitor=uar", False)],
)  # fmt: skip
def test_what_acts_after_round_0_is_no_part_of_its_beginning(override: str, same: bool) -> None:
    assert (beginning(composed(override)) == beginning(recorded(PLAIN))) == same


def test_places_tell_no_systems_apart_and_those_of_the_data_no_runs(tmp_path: Path) -> None:
    one, other = (composed("data=folder", "data.levels=[a]", f"data.root={tmp_path / x}") for x in "ab")
    assert differences(recorded(one), recorded(other)) == []
    assert system(one) == system(other)
    here, there = (composed("+experiment=random", f"pnao.like={tmp_path / x}") for x in "ab")
    assert differences(recorded(here), recorded(there)) == [
        f"pnao.like: {tmp_path / 'a'} there, {tmp_path / 'b'} now"
    ]
    assert system(here) == system(there)
    assert str(tmp_path) not in str(shown_settings(one))


def test_seeds_tell_runs_apart_and_not_systems() -> None:
    other = composed("seed=1")
    assert differences(recorded(PLAIN), recorded(other)) == ["seed: 0 there, 1 now"]
    assert system(other) == system(PLAIN)


def test_every_field_is_part_of_the_identity_or_marked() -> None:
    everything, kept = set(flat(recorded(PLAIN))), set(flat(identity(PLAIN, places=False)))
    assert kept == {key for key in everything if not marks()[key]}
    assert set(marks()) == every_key(Config)
    assert set(marks().values()) == {"", "aside", "place"}


def test_a_saved_key_that_is_no_longer_known_counts() -> None:
    saved = recorded(PLAIN) | {"older": {"key": 1}}
    assert differences(saved, recorded(PLAIN)) == ["older.key: 1 there, None now"]


def test_hydra_names_the_folders_of_a_sweep_without_what_cannot_be_swept() -> None:
    from hydra import compose, initialize_config_dir

    from mer_lightning.config.compose import conf_folder, register

    register()
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        overrides = ["pnao.rate=0.1", "data.root=x", "trainer.devices=2", "folds.workers=1", "logger=wandb"]
        job = compose("config", [*overrides, "extract.shard=0/2"], return_hydra_config=True).hydra.job
    assert list(job.config.override_dirname.exclude_keys) == unswept()
    assert job.override_dirname == "extract.shard=0/2,pnao.rate=0.1"
    refuse_unnamed(["extract.shard=0/2,1/2"])


def every_key(schema: Any, prefix: str = "") -> set[str]:
    below = [every_key(f.type, f"{prefix}{f.name}.") for f in fields(schema) if is_dataclass(f.type)]
    return {prefix + f.name for f in fields(schema)}.union(*below)


def system(config: Config) -> dict[str, str]:
    """As the report tells systems apart."""

    class Run:
        def __init__(self) -> None:
            self.config = recorded(config)

    return settings_of(Run())  # type: ignore[arg-type]
