"""Exported models compute what the predictor does, in runtimes that know nothing of this program."""

import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mer_lightning import exchange
from mer_lightning.data.standardise import Standardisation
from mer_lightning.errors import UserError
from mer_lightning.exchange import OUTPUTS, Arrays, Runner, Torch
from mer_lightning.export import (
    Exported,
    check_place,
    export,
    largest_difference,
    outputs_of,
    sample,
    trace,
)
from mer_lightning.network.base import Architecture
from mer_lightning.network.build import build
from mer_lightning.network.checkpoint import Trained
from mer_lightning.predict import Member, Predictor

LEVELS, SHARED = {"low": 6, "high": 5}, {"face": 4}
SIZES = (1, 7, 256)
ENTROPY = Architecture(LEVELS, SHARED, classes=3, dimension=8)
ATTENTION = replace(ENTROPY, fusion="attention")
PRUNED = replace(
    ATTENTION, widths={"low/gathered": 3, "high/gathered": 5, "low/encoder/face": 1, "high/attention_1": 2}
)
TRANSFORMER = replace(ENTROPY, kind="transformer", layers=2, heads=2)
ONE_LEVEL = Architecture({"low": 6}, {}, classes=3, dimension=8)
SYSTEMS: dict[str, tuple[Architecture, ...]] = {
    "entropy": (ENTROPY, ENTROPY),
    "attention": (ATTENTION,),
    "mean": (replace(ENTROPY, fusion="mean"),),
    "linear": (replace(ENTROPY, fusion="linear", fusion_weights=(0.8, 0.2)),),
    "raw scores": (replace(ENTROPY, softmax=False),),
    "pruned": (PRUNED, ENTROPY),
    "emptied": (replace(ENTROPY, widths={"low/encoder/face": 0, "high/attention_2": 0}),),
    "one level": (ONE_LEVEL, ONE_LEVEL),
    "transformer": (TRANSFORMER,),
    "combined": (ENTROPY, ATTENTION, replace(ONE_LEVEL, levels={"high": 5}), TRANSFORMER),
    "inner names": (
        Architecture(
            {"linear": 3, "val_0": 4}, {"statistic_0": 2, "softmax": 3, "a b/é.1": 2}, 3, dimension=4
        ),
    ),
}


def made(*architectures: Architecture, ensemble: str = "posterior", seed: int = 0) -> Predictor:
    """A predictor with random weights, statistics and shares."""
    torch.manual_seed(seed)
    shares = torch.rand(2, len(architectures))
    shares = shares / shares.sum(dim=1, keepdim=True)
    members = []
    for i, a in enumerate(architectures):
        sets = a.levels | a.shared
        mean = {name: 5 * torch.randn(d) for name, d in sets.items()}
        deviation = {name: 0.1 + 4 * torch.rand(d) for name, d in sets.items()}
        trained = Trained(build(a).eval(), Standardisation(mean, deviation))
        members.append(Member(trained, float(shares[0, i]), float(shares[1, i])))
    return Predictor(("angry", "happy", "sad"), tuple(members), ensemble)


def features_for(predictor: Predictor, rows: int, seed: int = 1) -> dict[str, np.ndarray]:
    """Raw features; the last row of the first set is missing where there are several rows."""
    rng = np.random.default_rng(seed)
    features = {n: rng.normal(2, 6, (rows, d)).astype(np.float32) for n, d in predictor.features.items()}
    if rows > 1:
        next(iter(features.values()))[-1] = np.nan
    return features


def check_same(found: Mapping[str, Any], predictor: Predictor, features: Arrays) -> None:
    expected = predictor.predict(features)
    for name in OUTPUTS:
        wanted = getattr(expected, name)
        assert np.isfinite(wanted).all()
        assert found[name].shape == wanted.shape
        np.testing.assert_allclose(found[name], wanted, atol=1e-5, rtol=1e-5)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Predictor, Path]:
    """A model of two systems, and its file for torch."""
    predictor = made(PRUNED, TRANSFORMER, ensemble="logit")
    path = tmp_path_factory.mktemp("exported") / "new" / "model.pt2"
    report = export(predictor, {"experiment": "final"}, path, "torch")
    assert report.size == path.stat().st_size
    assert report.difference < 1e-5
    return predictor, path


@pytest.mark.parametrize("ensemble", ["posterior", "logit"])
@pytest.mark.parametrize("system", SYSTEMS)
def test_the_module_decides_as_the_predictor(system: str, ensemble: str) -> None:
    predictor = made(*SYSTEMS[system], ensemble=ensemble)
    module = Exported(predictor)
    for rows in SIZES:
        features = features_for(predictor, rows)
        found = module({name: torch.from_numpy(x) for name, x in features.items()})
        assert list(found) == list(OUTPUTS)
        assert not any(x.requires_grad for x in found.values())
        check_same({name: x.numpy() for name, x in found.items()}, predictor, features)


def test_a_torch_file_decides_as_the_predictor(exported: tuple[Predictor, Path]) -> None:
    predictor, path = exported
    files = {"description.json": ""}
    module = torch.export.load(path, extra_files=files).module()
    for rows in SIZES:
        features = features_for(predictor, rows)
        found = module({name: torch.from_numpy(x) for name, x in reversed(features.items())})
        check_same({name: x.numpy() for name, x in found.items()}, predictor, features)
    description = json.loads(files["description.json"])
    assert description["classes"] == ["angry", "happy", "sad"]
    assert description["features"] == predictor.features
    assert description["branches"] == list(predictor.voices)
    assert description["ensemble"] == "logit"
    assert description["origin"] == {"experiment": "final"}
    moved = module.to("meta")  # nothing stays behind on the CPU
    found = moved({name: torch.empty(3, d, device="meta") for name, d in predictor.features.items()})
    assert found["posterior"].shape == (3, 3)


@pytest.mark.parametrize("system", ["emptied", "inner names", "mean"])
def test_a_program_decides_as_the_predictor(system: str) -> None:
    predictor = made(*SYSTEMS[system])
    module = trace(Exported(predictor), predictor).module()
    for rows in SIZES:
        features = features_for(predictor, rows)
        found = module({name: torch.from_numpy(x) for name, x in features.items()})
        check_same({name: x.numpy() for name, x in found.items()}, predictor, features)


def test_a_torch_file_needs_torch_alone_and_tells_nothing_of_this_machine(
    exported: tuple[Predictor, Path],
) -> None:
    path = exported[1]
    program = (
        "import sys, torch; sys.modules['mer_lightning'] = None\n"
        f"run = torch.export.load({str(path)!r}).module()\n"
        "x = {'low': torch.ones(3, 6), 'high': torch.ones(3, 5), 'face': torch.ones(3, 4)}\n"
        "print(run(x)['posterior'].sum(dim=1).tolist())"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=path.parent, capture_output=True, text=True)
    assert json.loads(done.stdout) == pytest.approx([1, 1, 1]), done.stderr
    assert_no_paths(path.read_bytes())


def test_an_onnx_file_decides_as_the_predictor(tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    names = SYSTEMS["inner names"][0]
    systems = (
        replace(names, fusion="attention", widths={"linear/gathered": 2}),
        replace(names, kind="transformer", layers=1, heads=2),
    )
    predictor, path = made(*systems, ensemble="logit"), tmp_path / "model.onnx"
    predictor = replace(predictor, extractors={"linear": {"layer": 18}, "val_0": {}}, has_valence=False)
    export(predictor, {"data": "ravdess", "fold": None}, path, "onnx")
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert {i.name: i.shape for i in session.get_inputs()} == {
        name: ["batch", d] for name, d in predictor.features.items()
    }
    assert {o.name: o.shape for o in session.get_outputs()} == {
        "posterior": ["batch", 3],
        "valence": ["batch"],
        "weights": ["batch", 5],
    }
    for rows in SIZES:
        features = features_for(predictor, rows)
        found = dict(zip(OUTPUTS, session.run(list(OUTPUTS), features), strict=True))
        check_same(found, predictor, features)
    metadata = session.get_modelmeta().custom_metadata_map
    assert metadata["program"] == "mer_lightning"
    assert json.loads(metadata["classes"]) == ["angry", "happy", "sad"]
    assert json.loads(metadata["features"]) == predictor.features
    assert json.loads(metadata["branches"]) == list(predictor.voices)
    assert metadata["ensemble"] == "logit"
    assert json.loads(metadata["origin"]) == {"data": "ravdess", "fold": None}
    assert json.loads(metadata["extractors"]) == {"linear": {"layer": 18}}
    assert metadata["valence"] == "false"
    assert_no_paths(path.read_bytes())
    assert b"pkg.torch" not in path.read_bytes()
    check_place(path, "onnx")  # may be written over: it is ours


def assert_no_paths(content: bytes) -> None:
    for text in (b"site-packages", str(Path(exchange.__file__).parent).encode()):
        assert text not in content


def test_the_predictor_is_left_as_it_is() -> None:
    predictor = made(*SYSTEMS["entropy"])
    Exported(predictor)
    assert all(p.requires_grad for p in predictor.members[0].trained.network.parameters())


def test_the_sample_has_the_scale_of_the_training_data_and_missing_rows() -> None:
    predictor = made(*SYSTEMS["entropy"])
    x = sample(predictor, 4000)["high"]
    missing = np.isnan(x).all(axis=1)
    assert missing.sum() == 250
    assert np.isfinite(x[~missing]).all()
    assert np.isfinite(x[0]).all()  # a batch of one is not one of missing features
    statistics = predictor.members[-1].trained.standardisation
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
    for parameter in predictor.members[1].trained.network.parameters():
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


@pytest.mark.parametrize("kind", ["onnx", "torch"])
def test_branches_that_are_nearly_certain_are_no_obstacle(kind: str, tmp_path: Path) -> None:
    sure = made(*SYSTEMS["entropy"])
    for member in sure.members:
        for name, parameter in member.trained.network.named_parameters():
            parameter.data *= 30 if name.endswith("decoder.emotion.weight") else 1
    assert export(sure, {}, tmp_path / "model", kind).difference < 1e-5


def test_no_other_file_is_overwritten(exported: tuple[Predictor, Path], tmp_path: Path) -> None:
    (tmp_path / "folder.pt2").mkdir()
    (tmp_path / "text.pt2").write_text("mine")
    torch.save({"program": "mer_lightning"}, tmp_path / "archive.pt2")
    describe_only(tmp_path / "other.pt2", "another program")
    (tmp_path / "empty.onnx").touch()
    (tmp_path / "text.onnx").write_text("mer_lightning")
    for path in tmp_path.iterdir():
        kind = "onnx" if path.suffix == ".onnx" else "torch"
        with pytest.raises(UserError, match="is there already, and is no export"):
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
