"""Weights as files: tensors and nothing else, whatever a file would like to run."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from mer_lightning.errors import UserError
from mer_lightning.extract.weights import STAND_INS, digest, fitted, read_tensors

TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2)}
PREFIXED = {f"module.{name}": tensor for name, tensor in TENSORS.items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return list(one) == list(other) and all(one[name].equal(other[name]) for name in one)


@pytest.mark.parametrize("content", [TENSORS, PREFIXED, {"state_dict": PREFIXED, "epoch": 3}])
def test_state_dicts_and_checkpoints_are_read(content: dict[str, Any], tmp_path: Path) -> None:
    torch.save(content, tmp_path / "weights.pth")
    assert same(read_tensors(tmp_path / "weights.pth", ""), TENSORS)


@pytest.mark.parametrize("content", [TENSORS, PREFIXED])
def test_safetensors_are_read(content: dict[str, Tensor], tmp_path: Path) -> None:
    save_file(content, tmp_path / "weights.safetensors")
    assert same(
        dict(sorted(read_tensors(tmp_path / "weights.safetensors", "").items(), reverse=True)), TENSORS
    )


class Planted:
    """Makes a file when it is unpickled."""

    def __init__(self, call: Callable[..., Any], *args: object) -> None:
        self.call, self.args = call, args

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[object, ...]]:
        return self.call, self.args


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("call", [Path.touch, eval, exec, np.load])
def test_what_could_run_code_is_refused_and_does_not_run(
    call: Callable[..., Any], zipped: bool, tmp_path: Path
) -> None:
    victim, path = tmp_path / "victim", tmp_path / "weights.pth"
    argument: object = victim if call is Path.touch else f"open({str(victim)!r}, 'w')"
    content = {"state_dict": PREFIXED, "recorder": Planted(call, argument)}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(UserError, match=r"weights\.pth: not loaded as weights: it refers to .*; use others"):
        read_tensors(path, "use others")
    assert not victim.exists()
    if call in (eval, exec):  # the file is a loaded weapon indeed
        torch.load(path, weights_only=False)
        assert victim.exists()


class RecorderMeter:
    """As a training script's: its state is arrays."""

    def __init__(self) -> None:
        self.epoch_losses = np.zeros((3, 2), dtype=np.float32)


@pytest.mark.parametrize("numpy_core", [b"numpy._core.multiarray", b"numpy.core.multiarray"])
def test_the_history_of_a_training_is_read_past(
    numpy_core: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "best.pth"
    with monkeypatch.context() as context:
        context.setattr(RecorderMeter, "__module__", "__main__")
        context.setattr(sys.modules["__main__"], "RecorderMeter", RecorderMeter, raising=False)
        content = {"state_dict": PREFIXED, "recorder": RecorderMeter()}
        torch.save(content, path, _use_new_zipfile_serialization=False)
    written = path.read_bytes()
    assert b"RecorderMeter" in written
    assert b"_core.multiarray" in written or b"numpy.core.multiarray" in written
    path.write_bytes(written.replace(b"numpy._core.multiarray", numpy_core))
    assert same(read_tensors(path, ""), TENSORS)
    assert not set(STAND_INS) & set(torch.serialization.get_safe_globals())


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
@pytest.mark.parametrize("content", [b"", b"weights", b"PK\x03\x04", b"\x80\x02}q\x00."])
def test_what_is_no_such_file_is_refused(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=rf"(?s){name}: .*; use others$") as refusal:
        read_tensors(tmp_path / name, "use others")
    assert "\n" not in str(refusal.value)
    with pytest.raises(UserError, match="elsewhere: no such file; use others"):
        read_tensors(tmp_path / "elsewhere", "use others")
    with pytest.raises(UserError, match="no such file"):
        read_tensors(tmp_path, "use others")


@pytest.mark.parametrize("content", [[1, 2], {"a": 1}, torch.ones(2), {"state_dict": [TENSORS]}])
def test_what_is_no_state_dict_is_refused(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "weights.pth")
    with pytest.raises(UserError, match="not a state dict"):
        read_tensors(tmp_path / "weights.pth", "")


def test_the_first_tensor_that_does_not_fit_is_named() -> None:
    def refused(tensors: dict[str, Tensor], message: str) -> None:
        with pytest.raises(UserError, match=rf"file: weights of another network: {message}; use others"):
            fitted(tensors, TENSORS, Path("file"), "use others")

    refused({}, "a.weight is missing")
    refused({"a.weight": TENSORS["a.weight"]}, "a.bias is missing")
    refused({**TENSORS, "b": torch.ones(1)}, "b is not one of its tensors")
    refused({**TENSORS, "a.bias": torch.ones(3)}, r"a.bias is \[3\], expected \[2\]")
    halves = {name: tensor.half() for name, tensor in reversed(TENSORS.items())}
    assert same(fitted(halves, TENSORS, Path("file"), ""), TENSORS)


def test_a_digest_tells_all_weights_apart() -> None:
    one = torch.arange(6.0)
    others = [
        {"a": one},
        {"b": one},
        {"a": one.half()},
        {"a": one.bfloat16()},
        {"a": one.reshape(2, 3)},
        {"a": one.reshape(3, 2).T},
        {"a": one + torch.tensor([0, 0, 0, 0, 0, 1e-6])},
        {"a": one, "b": torch.tensor(3)},
        {},
    ]
    digests = [digest(tensors) for tensors in others]
    assert len(set(digests)) == len(others)
    assert all(len(d) == 16 and int(d, 16) >= 0 for d in digests)
    assert digest(TENSORS) == digest(dict(reversed(TENSORS.items())))
    assert digest({"a": torch.zeros(()).expand(1)}) == digest({"a": torch.zeros(1)})
    assert digest({"a": one.reshape(2, 3).T}) == digest({"a": one.reshape(2, 3).T.contiguous()})
