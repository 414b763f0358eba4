"""Acoustic levels: any layers of a HuBERT, wav2vec 2.0, WavLM or of Whisper's encoder."""

import torch

from mer_lightning.config.extract import SpeechConfig
from mer_lightning.errors import UserError
from mer_lightning.extract.encoder import Encoder
from mer_lightning.extract.hub import find, load_model, read_config
from mer_lightning.extract.waveform import WaveformEncoder
from mer_lightning.extract.whisper import WhisperEncoder

FAMILIES: dict[str, type[WaveformEncoder | WhisperEncoder]] = {
    "hubert": WaveformEncoder,
    "wav2vec2": WaveformEncoder,
    "wavlm": WaveformEncoder,
    "whisper": WhisperEncoder,
}


def make(name: str, settings: SpeechConfig, device: torch.device, dtype: torch.dtype) -> Encoder:
    """The encoder of feature sets ``NAME_k``, one for each of ``settings.layers``.

    Raises UserError for a model that is not available, is of none of these families or has fewer layers.
    """
    key, layers = f"extract.{name}", settings.layers
    remedy = f"give {key}.model a HuBERT, wav2vec 2.0, WavLM or Whisper: a name on the hub, or a folder"
    pretrained = find(f"{key}.model", settings.model, settings.revision)
    config = read_config(pretrained, FAMILIES, remedy)
    depth = config.num_hidden_layers
    if max(layers) > depth:
        raise UserError(f"{key}.layers={layers}: {pretrained.name} has layers 0 to {depth}, ask for those")
    family = FAMILIES[config.model_type]
    family.cut(config, max(layers))
    made = family(
        load_model(pretrained, config, remedy),
        settings,
        pretrained.folder,
        device=device,
        dtype=dtype,
        whole=max(layers) == depth,
        remedy=remedy,
    )
    made.describe(name, model=pretrained.name, revision=pretrained.revision)
    return made
