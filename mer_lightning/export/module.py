"""A trained model for other runtimes: all of it as one graph of tensors, in one file that is checked."""

import copy
import math
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.export import ExportedProgram

from mer_lightning.data.arrays import brief
from mer_lightning.data.standardise import Standardisation
from mer_lightning.errors import UserError
from mer_lightning.export.formats import FORMATS, OUTPUTS, PROGRAM, Arrays, Runner, batched, quiet_exporter
from mer_lightning.model.base import Decision
from mer_lightning.model.checkpoint import Trained
from mer_lightning.model.decisions import EnsembleWeights, ensemble_decision
from mer_lightning.results.predictor import Predictor

OLDEST_TORCH = "2.13"  # 2.6 was seen to fail; what lies between was not tried
BATCHES = (1, 7, 256)  # rows that a written file is tried on
MISSING_EVERY = 16  # of those rows, one in so many is missing from a feature set
TOLERANCE = 1e-5


class Standardised(nn.Module):
    """A network with the standardisation of its inputs."""

    def __init__(self, trained: Trained) -> None:
        super().__init__()
        self.network = copy.deepcopy(trained.network)
        statistics = trained.standardisation.as_tensors()
        self.keys = list(statistics)  # a buffer's name admits no dots, a feature set's does
        for i, tensor in enumerate(statistics.values()):
            self.register_buffer(f"statistic_{i}", tensor.clone())

    def forward(self, features: Mapping[str, Tensor]) -> Decision:
        """Feature set -> (B, D), raw -> the network's decision."""
        statistics = {key: getattr(self, f"statistic_{i}") for i, key in enumerate(self.keys)}
        decision: Decision = self.network(Standardisation.from_tensors(statistics)(features))
        return decision


class Exported(nn.Module):
    """A ``Predictor`` as a module: the same decisions, and nothing but tensor operations.

    Its parameters and buffers are copies, which need no gradient.
    """

    posterior_weights: Tensor  # (K,)
    valence_weights: Tensor  # (K,)

    def __init__(self, predictor: Predictor) -> None:
        super().__init__()
        self.ensemble = predictor.ensemble
        self.networks = nn.ModuleList(Standardised(m) for m in predictor.members)
        self.branch_names = [m.network.branch_names for m in predictor.members]
        self.register_buffer("posterior_weights", predictor.weights.posterior.clone())
        self.register_buffer("valence_weights", predictor.weights.valence.clone())
        self.requires_grad_(False).eval()

    def forward(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Feature set -> (B, D), raw -> ``posterior`` (B, C), ``valence`` (B,), ``weights`` (B, M)."""
        decisions: list[Decision] = [network(features) for network in self.networks]
        weights = EnsembleWeights(self.posterior_weights, self.valence_weights)
        d = ensemble_decision(decisions, weights, self.ensemble, self.branch_names)
        return {"posterior": d.posterior, "valence": d.valence, "weights": d.weights}


class Written(NamedTuple):
    """What was written: bytes, and the largest difference from the predictor that was found."""

    size: int
    difference: float


def describe(predictor: Predictor, origin: Mapping[str, Any]) -> dict[str, Any]:
    """What a file says of itself: what goes in, what comes out, where it is from. JSON values."""
    return {
        "program": PROGRAM,
        "schema": "1",
        "classes": list(predictor.classes),  # the columns of the posterior
        "features": predictor.features,
        "branches": list(predictor.branch_names),  # the columns of the weights
        "ensemble": predictor.ensemble,
        "valence": predictor.has_valence,
        "extractors": {name: dict(made) for name, made in predictor.extractors.items() if made},
        "origin": dict(origin),
    }


def export(predictor: Predictor, origin: Mapping[str, Any], path: Path, kind: str) -> Written:
    """Write the model to ``path``, read it back and try it; the file appears whole and right, or not at all.

    Args:
        origin: where the model is from, for people; kept in the file.
        kind: one of ``FORMATS``.

    Raises:
        UserError: torch is too old, ``path`` is a file of something else or cannot be written, or what was
            written does not compute what the predictor does.
    """
    form, names = FORMATS[kind], list(predictor.features)
    if predictor.standardise == "speaker":
        raise UserError(
            "the model was trained on features standardised by speaker, and an exported file decides on each "
            "clip alone; export a model trained with data.standardise=train"
        )
    check_torch()
    form.check(names)
    check_place(path, kind)
    content = form.content(trace(Exported(predictor), predictor), names, describe(predictor, origin))
    draft = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}{form.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(content)
        difference = largest_difference(form.runner(draft), predictor, path)
        draft.replace(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({brief(error)}); give another output=") from error
    finally:
        if draft.exists():
            draft.unlink()
    return Written(len(content), difference)


def check_torch() -> None:
    """A UserError if this torch is older than the oldest whose torch.export was seen to follow the module."""
    if torch.__version__ < OLDEST_TORCH:
        raise UserError(
            f"task=export needs torch {OLDEST_TORCH} or newer, found {torch.__version__}: "
            "pip install --upgrade torch"
        )


def check_place(path: Path, kind: str) -> None:
    """A UserError if ``path`` is there and no export of ours, or is named like another format's file."""
    for other, form in FORMATS.items():
        if other != kind and path.suffix == form.suffix:
            raise UserError(f"output={path}: format={kind} writes no {form.suffix}; add format={other}")
    if path.exists() and not (path.is_file() and FORMATS[kind].is_ours(path)):
        raise UserError(
            f"{path}: exists, and is not an export of format={kind}; give another output=, or remove it"
        )


def trace(exported: Exported, predictor: Predictor) -> ExportedProgram:
    """The module as a program for any number of rows, without the paths of this machine's sources."""
    features = {name: torch.zeros(2, d) for name, d in predictor.features.items()}
    with quiet_exporter():
        program = torch.export.export(exported, (features,), dynamic_shapes=batched(list(features)))
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    return program


def sample(predictor: Predictor, rows: int) -> dict[str, NDArray[np.float32]]:
    """Random features in the scale of those trained on, always the same; some rows are missing (NaN)."""
    means: dict[str, Tensor] = {}
    deviations: dict[str, Tensor] = {}
    for member in predictor.members:
        means |= member.standardisation.mean
        deviations |= member.standardisation.deviation
    generator = torch.Generator().manual_seed(0)
    features = {}
    for i, (name, d) in enumerate(predictor.features.items()):
        x = means[name] + deviations[name] * torch.randn(rows, d, generator=generator)
        x[i + 1 :: MISSING_EVERY] = torch.nan
        features[name] = x.numpy()
    return features


def largest_difference(run: Runner, predictor: Predictor, path: Path) -> float:
    """The largest difference of what ``run`` gives from the predictions; of valences relative to their size.

    Raises UserError if it is above the tolerance.
    """
    features = sample(predictor, max(BATCHES))
    expected = outputs_of(predictor, features)
    scale = {"valence": float(np.abs(expected["valence"]).max()) or 1.0}
    worst = 0.0
    for rows in BATCHES:
        part = {name: x[:rows] for name, x in features.items()}
        for name, found in differences(run(part), outputs_of(predictor, part), scale).items():
            if not found <= TOLERANCE:  # so that NaN fails, too
                raise UserError(
                    f"{path}: not written, its {name} would differ from the model's by {found:.1e}, more "
                    f"than {TOLERANCE:g}, for {rows} rows; try the other format, or other versions of torch "
                    "and onnxruntime"
                )
            worst = max(worst, found)
    return worst


def outputs_of(predictor: Predictor, features: Arrays) -> Arrays:
    """The predictions by the names of the outputs."""
    prediction = predictor.predict(features)
    return {name: getattr(prediction, name) for name in OUTPUTS}


def differences(found: Arrays, expected: Arrays, scale: Mapping[str, float]) -> dict[str, float]:
    """Output -> the largest difference, divided by the output's scale; infinite between unlike shapes."""
    return {
        name: float(np.abs(found[name] - x).max()) / scale.get(name, 1.0)
        if found[name].shape == x.shape
        else math.inf
        for name, x in expected.items()
    }
