"""Functionals of openSMILE: pitch, loudness, spectrum and voice quality, summed up over the clip."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from mer_lightning.config.extract import SmileConfig
from mer_lightning.errors import UserError, optional
from mer_lightning.extract.encoder import Encoder, Features, Modality
from mer_lightning.extract.media import SAMPLE_RATE


class SmileEncoder:
    """An ``Encoder`` of one feature set: 88 numbers of a clip for eGeMAPS."""

    source: Modality = "speech"

    def __init__(self, name: str, settings: SmileConfig) -> None:
        opensmile = optional("opensmile", "mer-lightning[smile]")
        feature_set = getattr(opensmile.FeatureSet, settings.set, None)
        if feature_set is None:
            raise UserError(f"extract.{name}.set={settings.set}: opensmile has no such set; use eGeMAPSv02")
        self.name = name
        self._smile: Any = opensmile.Smile(feature_set, opensmile.FeatureLevel.Functionals)
        made = {"encoder": name, "set": settings.set, "opensmile": opensmile.__version__}
        self.provenance: dict[str, dict[str, Any]] = {name: made}

    def encode(self, clips: Sequence[Any]) -> list[Features]:
        """Samples (n,) of each clip -> its functionals (D,)."""
        tables = [self._smile.process_signal(samples, SAMPLE_RATE) for samples in clips]
        return [{self.name: np.asarray(table, dtype=np.float32)[0]} for table in tables]


def make(name: str, settings: SmileConfig, device: torch.device, dtype: torch.dtype) -> Encoder:
    """The encoder of the feature set NAME. UserError where opensmile is not installed, or has no such set."""
    return SmileEncoder(name, settings)
