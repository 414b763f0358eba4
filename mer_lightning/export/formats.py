"""The file formats of exported models: how each is written, opened again, and told from other files."""

import io
import json
import logging
import warnings
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.export import Dim, ExportedProgram

from mer_lightning.errors import UserError, optional

PROGRAM = "mer_lightning"  # says in a file's description whose export it is
EXTRA = "mer-lightning[export]"
OUTPUTS = ("posterior", "valence", "weights")
DESCRIPTION = "description.json"
LARGEST_ONNX = 2_000_000_000  # bytes; the format counts them in 31 bits
PREFIX = "network/"  # no feature set is called so: a slash is not allowed in their names

Arrays = Mapping[str, NDArray[np.float32]]
Runner = Callable[[Arrays], Arrays]  # feature sets (B, D) -> posterior (B, C), valence (B,), weights (B, M)


def batched(names: Sequence[str]) -> tuple[dict[str, dict[int, Dim]]]:
    """The axes of feature sets ``names`` that may have any length: the first, the same for all."""
    batch = Dim("batch")
    return ({name: {0: batch} for name in names},)


@contextmanager
def quiet_exporter() -> Iterator[None]:
    """Keep what exporters say of their own workings off the terminal."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


class Format(ABC):
    """A file format. Descriptions are JSON values under a few names."""

    suffix: str

    def check(self, features: Sequence[str]) -> None:  # noqa: B027  (not every format has something to refuse)
        """A UserError if a model with these feature sets cannot be written, or the means are missing."""

    @abstractmethod
    def content(
        self, program: ExportedProgram, features: Sequence[str], description: Mapping[str, Any]
    ) -> bytes:
        """The file that holds a program over ``features``, its weights and the description."""

    @abstractmethod
    def runner(self, path: Path) -> Runner:
        """What the file computes, by the runtime that it is for, on the CPU."""

    @abstractmethod
    def is_ours(self, path: Path) -> bool:
        """Whether the file is an export of this program; no code in it is run to find out."""

    @abstractmethod
    def usage(self, path: Path) -> tuple[str, ...]:
        """Three lines of Python that use the file."""


class Onnx(Format):
    """One ONNX file, weights inside; the description is in its metadata, values as JSON where not text."""

    suffix = ".onnx"

    def check(self, features: Sequence[str]) -> None:
        """Inputs and outputs of an ONNX graph share their names."""
        for package in ("onnx", "onnxscript", "onnxruntime"):
            optional(package, EXTRA)
        if taken := sorted(set(features) & set(OUTPUTS)):
            raise UserError(
                f"format=onnx: the feature set {taken[0]!r} is called like an output; use format=torch, or "
                "train on a feature set of another name"
            )

    def content(
        self, program: ExportedProgram, features: Sequence[str], description: Mapping[str, Any]
    ) -> bytes:
        """The bytes of the ONNX file."""
        if (size := sum(t.nbytes for t in program.state_dict.values())) > LARGEST_ONNX:
            raise UserError(
                f"the model's {size / 1e9:.1f} GB do not fit in one ONNX file: export one fold, "
                "model.fold=F, or use format=torch"
            )
        with quiet_exporter():
            made = torch.onnx.export(
                program,
                input_names=list(features),
                output_names=list(OUTPUTS),
                dynamic_shapes=batched(features),  # names the axis
                dynamo=True,
                verbose=False,
            )
        assert made is not None  # noqa: S101  (it is None for other arguments)
        tidy(made.model.graph)
        made.model.metadata_props.clear()
        made.model.metadata_props.update(
            {
                k: v if isinstance(v, str) else json.dumps(v, ensure_ascii=False)
                for k, v in description.items()
            }
        )
        return bytes(made.model_proto.SerializeToString())

    def runner(self, path: Path) -> Runner:
        """ONNX Runtime."""
        session = optional("onnxruntime", EXTRA).InferenceSession(
            str(path), providers=["CPUExecutionProvider"]
        )
        return lambda features: dict(zip(OUTPUTS, session.run(None, dict(features)), strict=True))

    def is_ours(self, path: Path) -> bool:
        """By the metadata."""
        try:
            model = optional("onnx", EXTRA).load(str(path), load_external_data=False)
        except Exception:  # a foreign file may break the parser in any way
            return False
        return any((p.key, p.value) == ("program", PROGRAM) for p in model.metadata_props)

    def usage(self, path: Path) -> tuple[str, ...]:
        """With ONNX Runtime."""
        return (
            "import onnxruntime",
            f"session = onnxruntime.InferenceSession({str(path)!r})",
            "posterior, valence, weights = session.run(None, features)  # {name: (B, D) float32 array}",
        )


class Torch(Format):
    """A ``torch.export`` program; the description is an extra file in the archive."""

    suffix = ".pt2"

    def content(
        self, program: ExportedProgram, features: Sequence[str], description: Mapping[str, Any]
    ) -> bytes:
        """The bytes of the archive."""
        text = json.dumps(dict(description), indent=1, ensure_ascii=False)
        buffer = io.BytesIO()
        with quiet_exporter():
            torch.export.save(program, buffer, extra_files={DESCRIPTION: text})
        return buffer.getvalue()

    def runner(self, path: Path) -> Runner:
        """Torch itself, from the file alone."""
        with quiet_exporter():
            module = torch.export.load(path).module()

        def run(features: Arrays) -> Arrays:
            outputs = module({name: torch.from_numpy(x) for name, x in features.items()})
            return {name: outputs[name].numpy() for name in OUTPUTS}

        return run

    def is_ours(self, path: Path) -> bool:
        """By the description, read as a member of the archive: to load a foreign program may run its code."""
        try:
            with zipfile.ZipFile(path) as archive:
                (name,) = (n for n in archive.namelist() if n.endswith(f"/{DESCRIPTION}"))
                return bool(json.loads(archive.read(name))["program"] == PROGRAM)
        except Exception:  # a foreign file may break the parser in any way
            return False

    def usage(self, path: Path) -> tuple[str, ...]:
        """With torch."""
        return (
            "import torch",
            f"program = torch.export.load({str(path)!r}).module()",
            "decision = program(features)  # {name: (B, D) float32 tensor}; decision['posterior'], ...",
        )


FORMATS: dict[str, Format] = {"onnx": Onnx(), "torch": Torch()}


def tidy(graph: Any) -> None:
    """Give the inner values of an ONNX graph a prefix, and take out the exporter's notes.

    Without the prefix, a feature set with the name of an inner value, say ``linear``, breaks the graph. The
    notes are for debugging, and longer than a small network.
    """
    inner = [v for node in graph for v in node.outputs if v not in graph.outputs]
    inner += graph.initializers.values()
    for value in inner:
        value.name = PREFIX + str(value.name)
    for part in (graph, *graph, *graph.inputs, *graph.outputs, *inner):
        part.metadata_props.clear()
