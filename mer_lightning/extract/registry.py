"""The encoders by name. A new one is a file in ``conf/extract/feature``; a new kind has a module, too."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from mer_lightning.config.extract import ExtractConfig
from mer_lightning.config.registry import ENCODERS
from mer_lightning.errors import UserError
from mer_lightning.extract.encoder import Encoder

if TYPE_CHECKING:
    import torch


def make_encoders(settings: ExtractConfig) -> list[Encoder]:
    """The encoders that ``extract.features`` names, their weights loaded.

    Raises UserError for an unknown one, and for weights that are not there or do not fit.
    """
    for name in settings.features:
        ENCODERS.check(name)
    device, dtype = device_and_dtype(settings)
    made = []
    for name in settings.features:
        own = [] if name in ENCODERS.plugins else [name, getattr(settings, name)]
        made.append(ENCODERS.make(name, *own, device, dtype, **vars(settings)))
    return made


def encoders_of(sets: Iterable[str]) -> dict[str, list[str]]:
    """Encoder -> those of the given feature sets that it makes: NAME, or NAME_k.

    Raises UserError for a set that none makes.
    """
    found: dict[str, list[str]] = {}
    for feature_set in sets:
        name = feature_set.partition("_")[0]
        if name not in ENCODERS:
            raise UserError(
                f"the model needs the feature set {feature_set!r}, which no encoder here makes of a clip: "
                "give its features as input, in a feature folder or a store"
            )
        found.setdefault(name, []).append(feature_set)
    return found


def device_and_dtype(settings: ExtractConfig) -> "tuple[torch.device, torch.dtype]":
    """Where to compute and how precisely. UserError where a GPU is asked for and there is none."""
    import torch

    if settings.accelerator == "gpu" and not torch.cuda.is_available():
        raise UserError("extract.accelerator=gpu: there is no GPU here; use extract.accelerator=auto or cpu")
    on_gpu = settings.accelerator != "cpu" and torch.cuda.is_available()
    automatic = torch.bfloat16 if on_gpu and torch.cuda.is_bf16_supported() else torch.float32
    dtypes = {"auto": automatic, "32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    dtype = dtypes[settings.precision]
    if dtype is not torch.float32 and not on_gpu:
        raise UserError(f"extract.precision={settings.precision} is for GPUs; on the CPU use auto or 32")
    return torch.device("cuda" if on_gpu else "cpu"), dtype
