"""A trained network as a file: weights and standardisation in safetensors, its shape in JSON.

Nothing here can run code when it is read, and a file cut short or altered is noticed by its hash.
"""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from safetensors.torch import load, save
from torch import Tensor

from mer_lightning.data.arrays import brief
from mer_lightning.data.standardise import Standardisation
from mer_lightning.errors import UserError
from mer_lightning.files.recorded import ARCHITECTURE, check_shape
from mer_lightning.model.base import Architecture, EmotionNetwork
from mer_lightning.model.build import sketched, with_weights


class Trained(NamedTuple):
    """A network and what its inputs must be standardised with."""

    network: EmotionNetwork
    standardisation: Standardisation


def write_network(stem: Path, trained: Trained) -> None:
    """Write ``stem.safetensors`` and ``stem.json``."""
    weights = {f"network/{k}": v.contiguous().cpu() for k, v in trained.network.state_dict().items()}
    statistics = {f"standardisation/{k}": v.cpu() for k, v in trained.standardisation.as_tensors().items()}
    content = save(weights | statistics)
    stem.with_suffix(".safetensors").write_bytes(content)
    description = {
        "schema": 1,
        "sha256": hashlib.sha256(content).hexdigest(),
        "architecture": asdict(trained.network.architecture),
    }
    stem.with_suffix(".json").write_text(json.dumps(description, indent=1), encoding="utf-8")


def read_network(stem: Path) -> Trained:
    """Read what ``write_network`` wrote; on the CPU, in evaluation mode.

    Raises UserError for a missing, damaged or foreign file.
    """
    path = stem.with_suffix(".safetensors")
    try:
        description = json.loads(stem.with_suffix(".json").read_text(encoding="utf-8"))
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != description["sha256"]:
            raise UserError(
                f"{path}: damaged, its hash is not the one in {stem.name}.json; restore or delete it"
            )
        architecture = Architecture(**description["architecture"])
        check_shape(asdict(architecture), ARCHITECTURE, "architecture")
        tensors = load(content)
        weights, statistics = _part(tensors, "network/"), _part(tensors, "standardisation/")
        single = {name: tensor.float() for name, tensor in weights.items()}  # whatever it was trained in
        network = with_weights(_fitting(architecture, weights), single)
        standardisation = _checked(Standardisation.from_tensors(statistics), architecture)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    except UserError:
        raise
    except Exception as error:  # a description that is another's runs into nearly anything
        raise UserError(f"{path}: not a network of this program, or damaged: {brief(error)}") from error
    return Trained(network.eval(), standardisation)


def _fitting(architecture: Architecture, weights: dict[str, Tensor]) -> EmotionNetwork:
    """The network without its weights, if these fit; a ValueError otherwise, before any memory is taken."""
    if architecture.layers > len(weights):
        raise ValueError(f"{architecture.layers} layers of {len(weights)} weights")
    network = sketched(architecture)
    for name, tensor in network.state_dict().items():
        if name not in weights or weights[name].shape != tensor.shape:
            raise ValueError(f"{name} is missing, or not {list(tensor.shape)}")
    if any(not tensor.isfinite().all() for tensor in weights.values()):
        raise ValueError("weights that are no numbers")
    return network


def _checked(statistics: Standardisation, architecture: Architecture) -> Standardisation:
    """The statistics, if they are of the network's feature sets; a ValueError otherwise."""
    for name, dimension in (architecture.levels | architecture.shared).items():
        mean, deviation = statistics.mean[name], statistics.deviation[name]
        if mean.shape != (dimension,) or deviation.shape != (dimension,):
            raise ValueError(f"standardisation of {name} is not for {dimension} dimensions")
        if not (mean.isfinite().all() and deviation.isfinite().all() and (deviation > 0).all()):
            raise ValueError(f"standardisation of {name} holds odd numbers")
    return statistics


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
