"""A trained network as files: weights and standardisation in safetensors, its architecture in JSON.

Nothing here can run code when it is read, and a file cut short or altered is noticed by its hash, which
stands in the ``SHA256SUMS`` of the folder.
"""

from pathlib import Path
from typing import NamedTuple

from safetensors.torch import load_file, save_file
from torch import Tensor

from mer_lightning.config.plugins import NAME
from mer_lightning.config.registry import FUSIONS, NETWORKS
from mer_lightning.data.standardise import Standardisation
from mer_lightning.errors import UserError, reading
from mer_lightning.files.checksums import check_whole
from mer_lightning.files.strict_json import as_json, read_json
from mer_lightning.model.base import Architecture, EmotionNetwork
from mer_lightning.model.build import on_meta_device, with_weights
from mer_lightning.pnao.layers import Columns

REMEDY = "restore or delete it"


class Trained(NamedTuple):
    """A network and what its inputs must be standardised with."""

    network: EmotionNetwork
    standardisation: Standardisation


def write_network(stem: Path, trained: Trained) -> None:
    """Write ``stem.safetensors`` and ``stem.json``; their hashes are left to ``write_checksums``."""
    weights = {f"network/{k}": v.contiguous().cpu() for k, v in trained.network.state_dict().items()}
    statistics = {f"standardisation/{k}": v.cpu() for k, v in trained.standardisation.as_tensors().items()}
    save_file(weights | statistics, stem.with_suffix(".safetensors"))
    stem.with_suffix(".json").write_text(as_json(trained.network.architecture), encoding="utf-8")


def read_network(stem: Path) -> Trained:
    """Read what ``write_network`` wrote; on the CPU, in evaluation mode.

    Raises UserError for a missing, damaged or foreign file.
    """
    for path in (stem.with_suffix(".json"), stem.with_suffix(".safetensors")):
        check_whole(path, REMEDY)
    architecture = read_json(stem.with_suffix(".json"), Architecture, REMEDY)
    with reading(path, REMEDY):
        tensors = load_file(path)
        weights, statistics = _part(tensors, "network/"), _part(tensors, "standardisation/")
        single = {
            name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in weights.items()
        }  # whatever it was trained in
        network = with_weights(_fitting(architecture, weights), single)
        return Trained(network.eval(), _checked(Standardisation.from_tensors(statistics), architecture))


def _fitting(architecture: Architecture, weights: dict[str, Tensor]) -> EmotionNetwork:
    """The network without its weights, if these fit; a ValueError otherwise, before any memory is taken."""
    for registry, name in ((NETWORKS, architecture.kind), (FUSIONS, architecture.fusion)):
        if name not in registry:
            raise _unknown(f"{registry.key}={name}", architecture.plugins.get(registry.key, ""))
    if architecture.options.get("layers", 0) > len(weights):
        raise ValueError(f"{architecture.options['layers']} layers of {len(weights)} weights")
    network = on_meta_device(architecture)
    for name, tensor in network.state_dict().items():
        if name not in weights or weights[name].shape != tensor.shape:
            raise ValueError(f"{name} is missing, or not {list(tensor.shape)}")
    if any(not tensor.isfinite().all() for tensor in weights.values()):
        raise ValueError("weights that are no numbers")
    for name, layer in network.named_modules():
        kept = weights.get(f"{name}.kept") if isinstance(layer, Columns) else None
        if kept is not None and not ((kept >= 0) & (kept < layer.inputs)).all():
            raise ValueError(f"{name} reads columns that are not there")
    return network


def _unknown(part: str, plugin: str) -> Exception:
    """What to raise where there is no such part; nothing is imported because a file says so."""
    if not NAME.fullmatch(plugin):
        return ValueError(f"{part} is unknown")
    return UserError(
        f"the model has {part} of the plugin {plugin}: if you trust it, say plugins=[{plugin}], or import "
        "it before load"
    )


def _checked(statistics: Standardisation, architecture: Architecture) -> Standardisation:
    """The statistics, if they are of the network's feature sets; a ValueError otherwise."""
    for name, dimension in (architecture.levels | architecture.shared).items():
        mean, deviation = statistics.mean[name], statistics.deviation[name]
        if mean.shape != (dimension,) or deviation.shape != (dimension,):
            raise ValueError(f"standardisation of {name} is not for {dimension} dimensions")
        if not (mean.isfinite().all() and deviation.isfinite().all() and (deviation > 0).all()):
            raise ValueError(f"standardisation of {name} holds numbers that are not finite or not positive")
    if statistics.clip.shape != () or not statistics.clip > 0:
        raise ValueError("standardisation clips at something that is not a positive number")
    return statistics


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
