"""A grid against what was registered: nothing wrong is missed, nothing right is named."""

import json
from pathlib import Path

import pytest

from experiments.mer2023 import power
from mer_lightning.config.compose import conf_folder
from mer_lightning.config.identity import marks
from mer_lightning.errors import UserError
from mer_lightning.report.registered import AS_REGISTERED, check, endpoint, read_registered
from mer_lightning.report.runs import FinishedRun
from mer_lightning.report.systems import DataSet, data_sets

SHIPPED = Path(__file__).parents[2] / "experiments" / "mer2023" / "registered.yaml"
SMALL = {"network.dimension": 8, "trainer.epochs": 3, "trainer.learning_rate": 0.01}
ROUNDS = SMALL | {"pnao.rounds": 2, "pnao.min_width": 2}
PLAN = {
    "protocol": "paper",
    "folds": 2,
    "seeds": [0, 1, 2],
    "utterances": {"train": 100},
    "endpoint": {"part": "Train&Val", "measure": "com"},
    "margin": 0.01,
    "systems": {
        "attention": {"experiment": "baseline", "settings": SMALL},
        "enf": {"settings": SMALL},
        "pnao": {"settings": ROUNDS | {"pnao.rate": 0.5}},
        "rewind_only": {"settings": ROUNDS},
    },
    "comparisons": [
        {"first": "enf", "second": "attention"},
        {"first": "pnao", "second": "rewind_only", "no_loss": True},
    ],
}


@pytest.fixture
def data(finished: list[FinishedRun]) -> DataSet:
    return data_sets(finished)[0]


def told(data: DataSet, tmp_path: Path, **changed: object) -> list[str]:
    path = tmp_path / "registered.yaml"
    path.write_text(json.dumps(PLAN | changed))
    return check(read_registered(path), data)


def test_the_registered_grid_is_as_registered(data: DataSet, tmp_path: Path) -> None:
    assert told(data, tmp_path) == [AS_REGISTERED]


def test_what_is_missing_what_differs_and_what_is_not_registered(data: DataSet, tmp_path: Path) -> None:
    assert told(data, tmp_path, seeds=[0, 1, 2, 3])[0] == "missing: attention, seed 3"
    assert "not registered: enf, seed 2 (" in "\n".join(told(data, tmp_path, seeds=[0, 1]))
    assert "differs: folds 2, registered 5" in told(data, tmp_path, folds=5)
    assert "differs: utterances in train 100, registered 3373" in told(
        data, tmp_path, utterances={"train": 3373}
    )
    systems = PLAN["systems"] | {"enf": {"settings": SMALL | {"trainer.epochs": 4}}}
    found = told(data, tmp_path, systems=systems)
    assert sum("from enf: trainer.epochs is 3, registered 4" in line for line in found) == 3
    assert found[-1] == "missing: enf, seed 0, 1, 2"
    without = {k: v for k, v in PLAN["systems"].items() if k != "rewind_only"}
    found = told(data, tmp_path, systems=without, comparisons=[])
    assert [line.split(",")[0] for line in found] == ["not registered: rewind_only"] * 3


def test_the_comparisons_are_made_at_the_endpoint(data: DataSet, tmp_path: Path) -> None:
    told(data, tmp_path)
    lines = endpoint(read_registered(tmp_path / "registered.yaml"), data)
    assert [line.split(":")[0] for line in lines] == [
        "enf - attention",
        "pnao - rewind_only in the same round",
    ]
    assert all("Com on Train&Val" in line and "3 seeds" in line for line in lines)


def test_a_file_that_says_something_else_is_refused(data: DataSet, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="margin"):
        told(data, tmp_path, margin=0.02)
    with pytest.raises(UserError, match="compares mean"):
        told(data, tmp_path, comparisons=[{"first": "pnao", "second": "mean"}])


def test_the_shipped_file_can_be_read_and_its_settings_are_keys() -> None:
    for planned in read_registered(SHIPPED).systems.values():
        assert (conf_folder() / "experiment" / f"{planned.experiment}.yaml").is_file()
        assert planned.changed.keys() <= marks().keys()


def test_its_document_shows_the_power_that_is_computed() -> None:
    assert power.table() in SHIPPED.with_name("README.md").read_text(encoding="utf-8")
