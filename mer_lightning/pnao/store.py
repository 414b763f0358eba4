"""Rounds as folders: what a round leaves behind, whole or not there. Safetensors and JSON, no pickle."""

import hashlib
import json
import os
import random
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

CHECKSUMS = "SHA256SUMS"  # in the form of sha256sum; written last
PARTS = ("module", "masks", "optimizer", "random")
OURS = (CHECKSUMS, "round.json", *(f"{part}.safetensors" for part in PARTS))


@dataclass(frozen=True)
class Round:
    """A finished round.

    record: its entry in ``PNAO.history``. module: state dict at the early-stop point. masks: group ->
    (width,) bool, what the next round keeps; empty after the last. optimizer: state that is carried. random:
    states of the random number generators at its end. following: what is known of the next round already.
    """

    record: dict[str, Any]
    module: dict[str, Tensor]
    masks: dict[str, Tensor] = field(default_factory=dict)
    optimizer: dict[str, Tensor] = field(default_factory=dict)
    random: dict[str, Tensor] = field(default_factory=dict)
    following: dict[str, Any] = field(default_factory=dict)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside ``path``, which takes its name if the block ends well.

    What somebody else put into the older one goes along.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(".unfinished", f".{path.name}.", path.parent))
    try:
        yield temporary
        temporary.chmod(0o755)
        for other in path.iterdir() if path.is_dir() else ():
            if other.name not in OURS and not (temporary / other.name).exists():
                os.replace(other, temporary / other.name)  # noqa: PTH105
        shutil.rmtree(path, ignore_errors=True)
        os.replace(temporary, path)  # noqa: PTH105  (replaces on every platform)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


class RoundStore:
    """The rounds below a folder, ``round_0``, ``round_1``, ...; or, without one, the last round in memory.

    Args:
        new_folder: makes a folder that is there whole or not at all.
        verify: compare the hashes of what is found, before it is gone on from.
    """

    def __init__(
        self,
        path: Path | None,
        new_folder: Callable[[Path], AbstractContextManager[Path]] = new_folder,
        *,
        verify: bool = True,
    ) -> None:
        self.path, self.new_folder, self.verify = path, new_folder, verify
        self.latest: tuple[int, Round] | None = None

    def folder(self, number: int) -> Path:
        """Where a round is."""
        assert self.path is not None  # noqa: S101
        return self.path / f"round_{number}"

    def count(self) -> int:
        """How many rounds are finished, without a gap; a damaged one ends them, with a warning."""
        number = 0
        while self.path is not None and self.done(number):
            if self.verify and (name := damaged(self.folder(number))):
                warnings.warn(f"{name} is damaged: going on from the round before", stacklevel=2)
                break
            number += 1
        return number

    def done(self, number: int) -> bool:
        """Whether a round is there."""
        if self.path is None:
            return self.latest is not None and self.latest[0] == number
        return (self.folder(number) / CHECKSUMS).is_file()

    def write(self, number: int, content: Round, extend: Callable[[Path], None]) -> None:
        """Keep a round; ``extend`` may add files to its folder before it takes its name."""
        if self.path is None:
            self.latest = number, content
            return
        with self.new_folder(self.folder(number)) as folder:
            for part in PARTS:
                tensors = {
                    k: v.detach().cpu().contiguous().clone() for k, v in getattr(content, part).items()
                }
                if tensors:
                    save_file(tensors, folder / f"{part}.safetensors")
            text = json.dumps({"record": content.record, "following": content.following}, indent=1)
            (folder / "round.json").write_text(text, encoding="utf-8")
            extend(folder)
            write_checksums(folder)

    def read(self, number: int) -> Round:
        """A finished round. FileNotFoundError if it is not there, OSError if it is damaged."""
        if self.path is None:
            if self.latest is None or self.latest[0] != number:
                raise FileNotFoundError(f"round {number} is not kept: PNAO has no dirpath")
            return self.latest[1]
        folder = self.folder(number)
        if not self.done(number):
            raise FileNotFoundError(f"{folder}: no finished round there")
        if self.verify and (name := damaged(folder)):
            raise OSError(f"{name} is damaged: remove {folder}, and pnao.rounds() trains it again")
        parts = {p: load_file(f) if (f := folder / f"{p}.safetensors").is_file() else {} for p in PARTS}
        return Round(**parts, **self._json(number))

    def record(self, number: int) -> dict[str, Any]:
        """The record of a finished round."""
        if self.path is None:
            return self.read(number).record
        return dict(self._json(number)["record"])

    def _json(self, number: int) -> dict[str, Any]:
        return dict(json.loads((self.folder(number) / "round.json").read_text(encoding="utf-8")))

    def begin(self, number: int) -> None:
        """Make ready for round ``number``: later ones, and what a killed process left, count no more."""
        self.latest = None
        for folder in () if self.path is None else self.path.glob("round_*"):
            name = folder.name.removeprefix("round_")
            if name.isdecimal() and int(name) >= number:
                (folder / CHECKSUMS).unlink(missing_ok=True)
        for folder in () if self.path is None else self.path.glob(".round_*.unfinished"):
            shutil.rmtree(folder, ignore_errors=True)


def write_checksums(folder: Path) -> None:
    """Write the hashes of all files of a folder."""
    files = sorted(path for path in folder.iterdir() if path.name != CHECKSUMS)
    lines = [f"{_sha256(path)}  {path.name}\n" for path in files]
    (folder / CHECKSUMS).write_text("".join(lines), encoding="utf-8")


def damaged(folder: Path) -> Path | None:
    """The first file that is not as it was written; None if all are."""
    checksums = folder / CHECKSUMS
    lines = (
        checksums.read_text(encoding="utf-8", errors="replace").splitlines() if checksums.is_file() else []
    )
    for line in lines:
        digest, _, name = line.partition("  ")
        path = folder / Path(name).name
        if not path.is_file() or _sha256(path) != digest:
            return path
    return None if lines else checksums


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_state(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load a state in its own precision: a module that was trained in double goes on in double."""
    own = module.state_dict(keep_vars=True)
    for name, tensor in state.items():
        if name in own and own[name].dtype != tensor.dtype:
            own[name].data = own[name].data.to(tensor.dtype)
    module.load_state_dict(state)


def random_states() -> dict[str, Tensor]:
    """The states of Python's, numpy's and torch's global random number generators."""
    _, python, gauss = random.getstate()
    _, numpy, position, has_gauss, cached = np.random.get_state(legacy=True)
    states = {
        "torch": torch.get_rng_state(),
        "python": torch.tensor(python, dtype=torch.int64),
        "python_gauss": torch.tensor([] if gauss is None else [gauss], dtype=torch.double),
        "numpy": torch.tensor([*numpy.tolist(), position, has_gauss], dtype=torch.int64),  # type: ignore[union-attr]
        "numpy_gauss": torch.tensor([cached], dtype=torch.double),
    }
    return states | {f"cuda_{i}": state for i, state in enumerate(torch.cuda.get_rng_state_all())}


def set_random_states(states: Mapping[str, Tensor]) -> None:
    """Go on from the states that ``random_states`` gave."""
    torch.set_rng_state(states["torch"])
    gauss = states["python_gauss"].tolist()
    random.setstate((3, tuple(states["python"].tolist()), gauss[0] if gauss else None))
    *keys, position, has_gauss = states["numpy"].tolist()
    cached = float(states["numpy_gauss"])
    np.random.set_state(("MT19937", np.array(keys, np.uint32), position, has_gauss, cached))
    cuda = [states[f"cuda_{i}"] for i in range(torch.cuda.device_count()) if f"cuda_{i}" in states]
    if cuda:
        torch.cuda.set_rng_state_all(cuda)
