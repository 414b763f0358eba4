"""What computes something else is not written, and nothing that is there is written over."""

import json
import shutil
import sys
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from mer_lightning.errors import UserError
from mer_lightning.export import formats as exchange
from mer_lightning.export.formats import Arrays, Runner, Torch
from mer_lightning.export.module import (
    check_place,
    export,
    largest_difference,
    outputs_of,
    sample,
)
from mer_lightning.model.base import Architecture
from mer_lightning.results.predictor import Predictor
from tests.export.helpers import ENTROPY, PRUNED, SYSTEMS, TRANSFORMER, made


def test_the_sample_has_the_scale_of_the_training_data_and_missing_rows() -> None:
    predictor = made(*SYSTEMS["entropy"])
    x = sample(predictor, 4000)["high"]
    missing = np.isnan(x).all(axis=1)
    assert missing.sum() == 250
    assert np.isfinite(x[~missing]).all()
    assert np.isfinite(x[0]).all()  # a batch of one is not one of missing features
    statistics = predictor.members[-1].standardisation
    np.testing.assert_allclose(x[~missing].mean(axis=0), statistics.mean["high"], atol=0.3)
    np.testing.assert_allclose(x[~missing].std(axis=0), statistics.deviation["high"], rtol=0.1)


def off_by(error: float, output: str, run: Runner, rows: int | None = None) -> Runner:
    """``run`` with an error in one output, for batches of ``rows`` alone or for all."""

    def wrong(features: Arrays) -> Arrays:
        found = dict(run(features))
        if rows in (None, len(found[output])):
            found[output] = found[output] + np.float32(error)
        return found

    return wrong


@pytest.mark.parametrize(
    ("output", "error", "rows"),
    [
        ("posterior", 3e-5, None),
        ("posterior", 3e-5, 1),
        ("weights", -3e-5, 7),
        ("valence", 0.01, 256),
        ("posterior", float("nan"), 7),
    ],
)
def test_a_difference_is_found(output: str, error: float, rows: int | None, tmp_path: Path) -> None:
    predictor = made(*SYSTEMS["entropy"])
    right = partial(outputs_of, predictor)
    assert largest_difference(right, predictor, tmp_path) == 0
    with pytest.raises(UserError, match=f"not written, its {output} would differ"):
        largest_difference(off_by(error, output, right, rows), predictor, tmp_path)


def test_a_model_of_nan_is_not_written(tmp_path: Path) -> None:
    predictor = made(*SYSTEMS["entropy"])
    for parameter in predictor.members[1].network.parameters():
        parameter.data[:] = torch.nan
    run = partial(outputs_of, predictor)
    with pytest.raises(UserError, match="the model is damaged"):
        largest_difference(run, predictor, tmp_path)


def test_outputs_of_another_shape_are_noticed(tmp_path: Path) -> None:
    predictor = made(*SYSTEMS["entropy"])

    def rows(features: Arrays) -> Arrays:
        found = dict(outputs_of(predictor, features))
        return found | {"valence": found["valence"][None]}  # the difference would broadcast to zeros

    with pytest.raises(UserError, match="valence would differ"):
        largest_difference(rows, predictor, tmp_path)


def describe_only(path: Path, program: str) -> None:
    """An archive that says whose export it is, and holds nothing else."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/extra/description.json", json.dumps({"program": program}))


def test_a_file_that_computes_something_else_does_not_appear(
    exported: tuple[Predictor, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, content = tmp_path / "model.pt2", exported[1].read_bytes()
    describe_only(path, "mer_lightning")
    before = path.read_bytes()
    monkeypatch.setattr(Torch, "content", lambda *_: content)
    with pytest.raises(UserError, match="not written"):
        export(made(PRUNED, TRANSFORMER, seed=5), {}, path, "torch")
    assert [p.name for p in tmp_path.iterdir()] == ["model.pt2"]
    assert path.read_bytes() == before


def test_no_other_file_is_overwritten(exported: tuple[Predictor, Path], tmp_path: Path) -> None:
    (tmp_path / "folder.pt2").mkdir()
    (tmp_path / "text.pt2").write_text("mine")
    torch.save({"program": "mer_lightning"}, tmp_path / "archive.pt2")
    describe_only(tmp_path / "other.pt2", "another program")
    (tmp_path / "empty.onnx").touch()
    (tmp_path / "text.onnx").write_text("mer_lightning")
    for path in tmp_path.iterdir():
        kind = "onnx" if path.suffix == ".onnx" else "torch"
        with pytest.raises(UserError, match="exists, and is not an export"):
            check_place(path, kind)
    (tmp_path / "text.pt2").rename(tmp_path / "text")
    with pytest.raises(UserError, match="is there already"):
        export(exported[0], {}, tmp_path / "text", "torch")
    assert (tmp_path / "text").read_text() == "mine"
    ours = shutil.copy(exported[1], tmp_path / "ours")
    check_place(ours, "torch")
    with pytest.raises(UserError, match="no export of format=onnx"):
        check_place(ours, "onnx")


def test_a_name_of_the_other_format_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"writes no \.pt2; add format=torch"):
        check_place(tmp_path / "model.pt2", "onnx")
    with pytest.raises(UserError, match=r"writes no \.onnx; add format=onnx"):
        check_place(tmp_path / "model.onnx", "torch")


def test_what_cannot_be_written_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = made(*SYSTEMS["one level"])
    (tmp_path / "file").touch()
    monkeypatch.setattr(Torch, "content", lambda *_: b"")
    with pytest.raises(UserError, match="cannot be written"):
        export(predictor, {}, tmp_path / "file" / "model.pt2", "torch")
    pytest.importorskip("onnxruntime")
    called_valence = made(Architecture({"valence": 3}, {}, classes=3, dimension=4))
    with pytest.raises(UserError, match="'valence' is called like an output; use format=torch"):
        export(called_valence, {}, tmp_path / "model.onnx", "onnx")
    monkeypatch.setattr(exchange, "LARGEST_ONNX", 1000)
    with pytest.raises(UserError, match="do not fit in one ONNX file"):
        export(predictor, {}, tmp_path / "model.onnx", "onnx")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_onnx_packages_are_asked_for_where_they_are_needed(
    exported: tuple[Predictor, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=r"needs onnx: pip install 'mer-lightning\[export\]'"):
        export(exported[0], {}, exported[1], "onnx")
    check_place(exported[1], "torch")


def test_an_old_torch_is_refused_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "__version__", torch.torch_version.TorchVersion("2.6.0+cpu"))
    with pytest.raises(UserError, match=r"needs torch 2\.13 or newer, this is 2\.6\.0"):
        export(made(ENTROPY), {}, tmp_path / "model.pt2", "torch")
    assert not list(tmp_path.iterdir())
