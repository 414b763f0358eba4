"""Parts of the user's that are not what they have to be are named before anything is trained."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from mer_lightning import EmotionModule
from mer_lightning.config.plugins import import_plugins, named
from mer_lightning.config.registry import FUSIONS, WEIGHTINGS
from mer_lightning.errors import UserError
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.model.losses import UncertaintyWeighting
from mer_lightning.plugins import fusion, weighting
from mer_lightning.tasks import fit


@pytest.mark.parametrize("weights", [lambda w: 2 * w, lambda w: w - 0.5, lambda w: w[:, :1]])
def test_a_fusion_without_weights_is_refused_before_training(
    weights: Callable[[torch.Tensor], torch.Tensor],
) -> None:
    class Wrong(nn.Module):
        def __init__(self, widths: list[int]) -> None:
            super().__init__()

        def forward(self, log_posteriors: torch.Tensor, gathered: object) -> torch.Tensor:
            return weights(torch.softmax(log_posteriors.amax(dim=-1), dim=-1))

    fusion("wrong")(Wrong)
    try:
        with pytest.raises(UserError, match="fusion=wrong: expected weights of"):
            EmotionModule(levels={"a": 3, "b": 2}, classes=["x", "y"], fusion="wrong", dimension=4)
    finally:
        del FUSIONS["wrong"], FUSIONS.plugins["wrong"]


def test_a_weighting_of_one_number_is_refused() -> None:
    weighting("wrong")(lambda losses, log_d: losses.sum())
    try:
        with pytest.raises(UserError, match=r"loss=wrong: expected \(2,\) weighted losses, found \(\)"):
            UncertaintyWeighting("wrong")
    finally:
        del WEIGHTINGS["wrong"], WEIGHTINGS.plugins["wrong"]


def test_what_is_no_file_is_no_plugin(here: Path) -> None:
    (here / "mine").mkdir()
    for name in ("mine", "sys"):
        with pytest.raises(UserError, match=f"plugins: {name} is no file of Python's"):
            import_plugins([name])


@pytest.mark.parametrize("swept", ["interval(0.003,0.1)", "tag(log,interval(0.003,0.1))", "glob(*)"])
def test_plugins_are_looked_for_beside_any_sweep(here: Path, swept: str) -> None:
    assert named(["plugins=[my_parts]", f"pnao.rate={swept}"], []) == ["my_parts"]


def test_a_failing_callback_of_the_users_is_named(small: Callable[..., object], tmp_path: Path) -> None:
    stop = "lightning.pytorch.callbacks.EarlyStopping"
    config = small(f"callbacks.stop._target_={stop}", "callbacks.stop.monitor=nope", "pnao.rounds=0")
    with pytest.raises(UserError, match=r"fold 0, round 0, with callbacks or plugins of yours: RuntimeError"):
        fit.run(config, RunDirectory(tmp_path / "run"))  # type: ignore[arg-type]
