"""Exported models compute what the predictor does, in runtimes that know nothing of this program."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mer_lightning.export import formats as exchange
from mer_lightning.export.formats import OUTPUTS
from mer_lightning.export.module import (
    Exported,
    check_place,
    export,
    trace,
)
from mer_lightning.results.predictor import Predictor
from tests.export.helpers import SIZES, SYSTEMS, check_same, features_for, made


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
    assert description["branches"] == list(predictor.branch_names)
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
        replace(names, kind="transformer", options={"layers": 1, "heads": 2}),
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
    assert json.loads(metadata["branches"]) == list(predictor.branch_names)
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
    assert all(p.requires_grad for p in predictor.members[0].network.parameters())


@pytest.mark.parametrize("kind", ["onnx", "torch"])
def test_branches_that_are_nearly_certain_are_no_obstacle(kind: str, tmp_path: Path) -> None:
    sure = made(*SYSTEMS["entropy"])
    for member in sure.members:
        for name, parameter in member.network.named_parameters():
            parameter.data *= 30 if name.endswith("decoder.emotion.weight") else 1
    assert export(sure, {}, tmp_path / "model", kind).difference < 1e-5
