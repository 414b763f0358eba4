"""Weights of pretrained models as files: read without running anything in them, and known by a digest."""

import hashlib
import pickle
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.serialization import safe_globals

from mer_lightning.errors import UserError, reading


class Skipped:
    """Stands in for what a file holds besides tensors: made and filled without doing or keeping anything."""

    def __new__(cls, *_: object) -> "Skipped":
        """Whatever the arguments: nothing."""
        return super().__new__(cls)

    def __setstate__(self, _: object) -> None:
        """Whatever the state: nothing."""


# What a widespread training script keeps beside the weights: losses per epoch, in NumPy arrays. Nothing of it
# is imported, let alone run: each of these names gives a Skipped.
HISTORY = {
    "__main__": ("RecorderMeter",),
    "numpy": ("ndarray", "dtype"),
    "numpy.core.multiarray": ("_reconstruct",),
    "numpy._core.multiarray": ("_reconstruct",),
}
STAND_INS: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    type(name, (Skipped,), {"__module__": module}) for module, names in HISTORY.items() for name in names
]


def digest(tensors: Mapping[str, Tensor]) -> str:
    """Sixteen hex digits of a SHA-256 over names, types, shapes and values, in the order of the names."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().clone(memory_format=torch.contiguous_format)
        total.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        # as bytes, because NumPy has no bfloat16
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()[:16]


def read_tensors(path: Path, remedy: str) -> dict[str, Tensor]:
    """The tensors of a safetensors file or a PyTorch state dict, on the CPU, their names without ``module.``.

    A state dict may be the ``state_dict`` of a training checkpoint.
    Raises UserError, which ends with the remedy, where there is no such file, or it holds anything else.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; {remedy}")
    with reading(path, remedy), refusing(path, remedy):
        content = load_file(path) if path.suffix == ".safetensors" else _unpickled(path)
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise UserError(f"{path}: not a state dict, that is names and tensors; {remedy}")
    return {str(name).removeprefix("module."): tensor for name, tensor in content.items()}


def _unpickled(path: Path) -> object:
    """The content of a PyTorch file, if reading it cannot run code."""
    with safe_globals(STAND_INS):
        return torch.load(path, map_location="cpu", weights_only=True)


@contextmanager
def refusing(path: Path, remedy: str) -> Iterator[None]:
    """Turn PyTorch's refusal of a file that is not weights alone into a UserError."""
    try:
        yield
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL (\S+)", str(error))  # the rest is advice to load it unsafely
        reason = f"it refers to {found[1]}, which could run code" if found else "damaged, or something else"
        raise UserError(f"{path}: not loaded as weights: {reason}; {remedy}") from error


def fitted(
    tensors: Mapping[str, Tensor], network: Mapping[str, Tensor], path: Path, remedy: str
) -> dict[str, Tensor]:
    """The tensors in the order and the types of a network's own state dict.

    Raises UserError, which names the first tensor that is missing, not the network's or of another shape.
    """
    for name in [*network, *tensors]:
        if name not in tensors:
            problem = f"{name} is missing"
        elif name not in network:
            problem = f"{name} is not one of its tensors"
        elif tensors[name].shape != network[name].shape:
            problem = f"{name} is {list(tensors[name].shape)}, expected {list(network[name].shape)}"
        else:
            continue
        raise UserError(f"{path}: weights of another network: {problem}; {remedy}")
    return {name: tensors[name].to(own.dtype) for name, own in network.items()}
