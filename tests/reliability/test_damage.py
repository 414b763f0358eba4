"""Damage that was once not refused: each found by the fuzzer, or by reading the code for it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from mer_lightning import load
from mer_lightning.config.schema import Config
from mer_lightning.errors import UserError
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.report.runs import read_run
from mer_lightning.tasks import fit
from tests.conftest import SMALL, composed, folder_overrides, write_folder
from tests.reliability.targets import mend_digests, without_figures

Edit = Callable[[Any], None]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Config, Path]:
    """A finished run, not to be changed, and its configuration."""
    root = tmp_path_factory.mktemp("damage")
    overrides = folder_overrides(write_folder(root / "data"))
    config = composed(*overrides, *SMALL, "pnao.rounds=0", "trainer.epochs=1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, "write_run_report", without_figures)
        fit.run(config, RunDirectory(root / "run"))
    return config, root / "run"


def json_edit(path: Path, edit: Edit) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    edit(content)
    path.write_text(json.dumps(content), encoding="utf-8")


UNFINISHED: list[tuple[str, Edit]] = [
    ("fold_0/round_0/round.json", lambda r: r["record"].update(difference=None)),
    ("fold_0/round_0/round.json", lambda r: r["record"].update(parameters=0)),
    ("fold_0/round_0/round.json", lambda r: r["record"].update(seconds="3")),
    ("fold_0/round_0/round.json", lambda r: r["record"].update(notes=[1])),
    ("fold_0/round_0/round.json", lambda r: r["record"].update(fold=7)),
    ("fold_0/round_0/round.json", lambda r: r["record"]["history"][0].pop("loss")),
    ("data.json", lambda d: d.update(features=[1])),
    ("data.json", lambda d: d.pop("labels")),
]


@pytest.mark.parametrize(("name", "edit"), UNFINISHED)
def test_what_a_run_goes_on_from(trained: tuple[Config, Path], tmp_path: Path, name: str, edit: Edit) -> None:
    config, pristine = trained
    run = RunDirectory(shutil.copytree(pristine, tmp_path / "run"))
    run.results.unlink()
    json_edit(run.path / name, edit)
    mend_digests(run.path)
    with pytest.raises(UserError, match=Path(name).name.replace(".", r"\.")):
        fit.run(config, run)


@pytest.mark.parametrize(
    ("key", "tensor"),
    [
        ("rows", torch.arange(10_000, 10_024)),
        ("rows", torch.full((24,), -1)),
        ("valence", torch.zeros(3)),
        ("weights", torch.zeros(24, 2, dtype=torch.int64)),
        ("log_posterior", torch.zeros(())),
    ],
)
def test_predictions(trained: tuple[Config, Path], tmp_path: Path, key: str, tensor: torch.Tensor) -> None:
    config, pristine = trained
    run = RunDirectory(shutil.copytree(pristine, tmp_path / "run"))
    run.results.unlink()
    path = run.round(0, 0).decisions("held_out")
    tensors = load_file(path)
    size = len(tensors["rows"])
    save_file(tensors | {key: tensor.repeat(2)[:size] if key == "rows" else tensor}, path)
    mend_digests(run.path)
    with pytest.raises(UserError, match="corrupt"):
        fit.run(config, run)


@pytest.mark.parametrize(
    "change",
    [
        {"widths": [1]},
        {"layers": 10**9, "kind": "transformer", "heads": 1},
        {"kind": "transformer", "heads": 0},
        {"widths": {"low/gathered": 10**6}},
        {"dropout": {}},
        {"heads": {}},
        {"classes": 4},
        {"levels": {"low": 6}},
        {"levels": "low"},
        {"fusion": "eval"},
    ],
    ids=str,
)
def test_networks(trained: tuple[Config, Path], tmp_path: Path, change: dict[str, Any]) -> None:
    model = shutil.copytree(trained[1] / "model", tmp_path / "model")
    json_edit(model / "fold_0.json", lambda d: d.update(change))
    mend_digests(model)
    with pytest.raises(UserError, match=r"fold_0\.(json|safetensors): cannot be read"):
        load(model)


@pytest.mark.parametrize("part", ["network/", "standardisation/deviation/", "standardisation/mean/"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers(
    trained: tuple[Config, Path], tmp_path: Path, part: str, value: float
) -> None:
    model = shutil.copytree(trained[1] / "model", tmp_path / "model")
    tensors = load_file(model / "fold_1.safetensors")
    name = next(key for key in sorted(tensors) if key.startswith(part))
    tensors[name].view(-1)[0] = value
    save_file(tensors, model / "fold_1.safetensors")
    mend_digests(model)
    with pytest.raises(UserError, match="numbers"):
        load(model)


@pytest.mark.parametrize(
    "edit",
    [
        lambda d: d.update(ensemble="x"),
        lambda d: d["classes"].pop(),
        lambda d: d["networks"][0].update(posterior_share=float("nan")),
        lambda d: d["networks"][0].update(valence_share=-1),
    ],
)
def test_descriptions(trained: tuple[Config, Path], tmp_path: Path, edit: Edit) -> None:
    model = shutil.copytree(trained[1] / "model", tmp_path / "model")
    json_edit(model / "model.json", edit)
    mend_digests(model)
    with pytest.raises(UserError, match=r"model\.json"):
        load(model)


@pytest.mark.parametrize(
    "edit",
    [
        lambda r: r.update(data=[1, 2, 3]),
        lambda r: r.update(best_round=True),
        lambda r: r.update(best_round=99),
        lambda r: r.update(rounds=[]),
        lambda r: r["rounds"][0].update(parameters_ratio="1"),
        lambda r: r["rounds"][0]["validation"].update(dis=float("nan")),
        lambda r: r["rounds"][0].update(test={}),
        lambda r: r["rounds"][0].update(notes=3),
        lambda r: r["rounds"][0].update(parameters=1.5),
        lambda r: r["validation"].pop("dim"),
        lambda r: r.update(more=1),
        lambda r: r.update(schema=2),
    ],
)
def test_results(trained: tuple[Config, Path], tmp_path: Path, edit: Edit) -> None:
    run = RunDirectory(shutil.copytree(trained[1], tmp_path / "run"))
    json_edit(run.results, edit)
    for read in (run.read_results, lambda: read_run(run.path)):
        with pytest.raises(UserError, match=r"results\.json"):
            read()


@pytest.mark.parametrize(
    "text", ["combine: 3\n", "1: 2\n", "a: &x [1]\nb: *x\n", "[" * 3000, "seed: 0x" + "f" * 5000, "seed: 1\n"]
)
def test_saved_configurations(trained: tuple[Config, Path], tmp_path: Path, text: str) -> None:
    run = RunDirectory(shutil.copytree(trained[1], tmp_path / "run"))
    run.config.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"config\.yaml"):
        read_run(run.path)
