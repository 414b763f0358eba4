"""Parts by name: every shipped one is there, a user's own is added, an unknown one is refused."""

import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch
from hydra.core.config_store import ConfigStore

from mer_lightning.config.registry import CHOSEN_BY_NAME, FUSIONS, TASKS, Registry
from mer_lightning.errors import UserError
from mer_lightning.model.base import Architecture
from mer_lightning.model.build import build
from tests.conftest import composed


@pytest.mark.parametrize("registry", CHOSEN_BY_NAME, ids=lambda registry: registry.key)
def test_every_shipped_part_is_where_it_is_said_to_be(registry: Registry) -> None:
    for name in registry:
        assert callable(registry[name])


@pytest.mark.parametrize("name", TASKS)
def test_every_task_has_a_module_that_runs(name: str) -> None:
    from importlib import import_module

    assert callable(import_module(f"mer_lightning.tasks.{TASKS[name].module}").run)


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(
        UserError, match=r"^fusion.kind=entropi: expected one of entropy, .*; did you mean 'entropy'"
    ):
        composed("fusion.kind=entropi")


def test_the_configuration_is_checked_without_torch() -> None:
    code = "import sys, mer_lightning.config.compose; print('torch' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


@pytest.fixture
def sharp() -> Iterator[None]:
    """A fusion of a user's own, with a setting of its own."""

    @FUSIONS.add("sharp")
    class Sharp(torch.nn.Module):
        def __init__(self, widths: list[int], power: float) -> None:
            super().__init__()
            self.branches, self.power = len(widths), power

        def forward(self, log_posteriors: torch.Tensor, gathered: object) -> torch.Tensor:
            return torch.softmax(self.power * log_posteriors.amax(-1), -1)

    yield
    del FUSIONS["sharp"], FUSIONS.plugins["sharp"]
    ConfigStore.instance().repo["fusion"].pop("sharp.yaml", None)


@pytest.mark.usefixtures("sharp")
def test_a_fusion_of_a_users_own() -> None:
    assert composed("fusion=sharp").fusion.kind == "sharp"
    architecture = Architecture({"a": 5, "b": 4}, {}, 3, dimension=8, fusion="sharp", options={"power": 2.0})
    network = build(architecture)
    assert network.fusion.branches == 2
    decision = network({"a": torch.randn(6, 5), "b": torch.randn(6, 4)})
    torch.testing.assert_close(decision.weights.sum(-1), torch.ones(6))
