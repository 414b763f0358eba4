"""``task=export`` from a finished run to a file and what the terminal says of it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from mer_lightning import load
from mer_lightning.errors import UserError
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.tasks import export, fit
from tests.conftest import SMALL, composed, folder_overrides, write_folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A pruned run of two folds; its data are in ``data`` beside it."""
    root = tmp_path_factory.mktemp("export")
    run = RunDirectory(root / "run")
    fit.run(composed(*folder_overrides(write_folder(root / "data")), *SMALL, "+experiment=pnao"), run)
    return run


def features_of(run: RunDirectory) -> dict[str, np.ndarray]:
    return {name: np.load(run.path.parent / "data" / f"{name}.npy") for name in ("low", "high", "face")}


def exported(*overrides: str) -> None:
    export.run(composed("task=export", *overrides), RunDirectory(Path("nowhere")))


def test_one_fold_becomes_a_torch_file(
    finished: RunDirectory, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "fold one.pt2"
    exported(f"model={finished.path}", "model.fold=1", "format=torch", f"output='{path}'")
    shown = capfd.readouterr()
    assert shown.err == ""
    lines = shown.out.splitlines()
    assert lines[0].split(None, 1)[1].startswith("low (B, 6), high (B, 5), face (B, 4); float32, raw")
    assert "posterior (B, 3): angry, happy, sad; valence (B,); weights (B, 2): low, high" in lines[1]
    assert f"{path}, {path.stat().st_size / 1e6:.2f} MB" in lines[2]
    assert float(lines[3].rpartition(" ")[2]) < 1e-5
    assert len(lines) == 8
    features = features_of(finished)
    expected = load(finished.path, fold=1).predict(features)
    scope = {"features": {name: torch.from_numpy(x) for name, x in features.items()}}
    exec("\n".join(line.strip() for line in lines[5:]), scope)  # what it says to do works
    decision = scope["decision"]
    np.testing.assert_allclose(decision["posterior"], expected.posterior, atol=1e-5)
    np.testing.assert_allclose(decision["weights"], expected.weights, atol=1e-5)
    files = {"description.json": ""}
    torch.export.load(path, extra_files=files)
    origin = json.loads(files["description.json"])["origin"]
    assert (origin["experiment"], origin["data"], origin["fold"]) == ("pnao", "data", 1)


def test_all_folds_become_an_onnx_file_without_a_word_of_the_exporters(
    finished: RunDirectory, tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime")
    path = tmp_path / "model.onnx"
    command = ["-m", "mer_lightning", "task=export", f"model={finished.model}", "output=model.onnx"]
    done = subprocess.run([sys.executable, *command], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines[:4]] == ["inputs", "outputs", "file", "check"]
    assert str(path) in lines[2]
    features = features_of(finished)
    expected = load(finished.path).predict(features)
    scope = {"features": features}
    exec("\n".join(line.strip() for line in lines[5:]), scope)
    np.testing.assert_allclose(scope["posterior"], expected.posterior, atol=1e-5)
    np.testing.assert_allclose(scope["valence"], expected.valence, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(scope["weights"], expected.weights, atol=1e-5)
    origin = json.loads(scope["session"].get_modelmeta().custom_metadata_map["origin"])
    assert origin["fold"] is None


def test_mistakes_are_said_and_nothing_is_written(finished: RunDirectory, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no model here"):
        exported(f"model={tmp_path}", f"output={tmp_path / 'x.pt2'}", "format=torch")
    with pytest.raises(UserError, match="no fold 5"):
        exported(f"model={finished.path}", "model.fold=5", f"output={tmp_path / 'x.pt2'}", "format=torch")
    with pytest.raises(UserError, match=r"writes no \.onnx"):
        exported(f"model={finished.path}", f"output={tmp_path / 'x.onnx'}", "format=torch")
    with pytest.raises(UserError, match="exists, and is not an export"):
        exported(f"model={finished.path}", f"output={finished.results}", "format=torch")
    assert finished.read_results().experiment == "pnao"
    assert list(tmp_path.iterdir()) == []


def test_a_model_without_valence_says_so(finished: RunDirectory) -> None:
    predictor = load(finished.path)
    object.__setattr__(predictor, "has_valence", False)
    lines = export.shown(predictor, Path("x"), export.Written(1, 0.0))
    assert "valence (B,), without meaning" in lines[1]
