"""Whisper's encoder: a transformer over spectra of 30 seconds."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mer_lightning.config.extract import SpeechConfig
from mer_lightning.extract.hub import load_processor
from mer_lightning.extract.windows import RATE, Samples, WindowEncoder, cut_up


class WhisperEncoder(WindowEncoder):
    """Windows of the length that Whisper takes, filled up with silence, which the means leave out."""

    deep = ("layers.", "layer_norm.")

    @staticmethod
    def cut(config: Any, depth: int) -> None:
        """Configure a model of so many layers, with the least of a decoder."""
        config.encoder_layers = depth
        config.decoder_layers = 1

    def __init__(
        self,
        model: Any,
        settings: SpeechConfig,
        folder: Path,
        *,
        device: torch.device,
        dtype: torch.dtype,
        whole: bool,
        remedy: str,
    ) -> None:
        """``whole``: nothing is cut off; hidden_states[-1] is what the last norm makes."""
        encoder = model.get_encoder()
        super().__init__(encoder, settings, device, dtype)
        self.encoder = encoder
        if not whole:
            encoder.layer_norm = nn.Identity()
        self.processor: Any = load_processor(folder, "AutoFeatureExtractor", remedy)
        self.window = int(min(settings.window * RATE, self.processor.n_samples))
        self.how = {"window": self.window / RATE}
        self._hop: int = self.processor.hop_length * encoder.conv2.stride[0]

    def windows(self, clip: Samples) -> list[Samples]:
        """(n,) -> a clip's windows."""
        return cut_up(clip, self.window, 1)

    def frames(self, samples: int) -> int:
        """How many frames hold some of the samples."""
        return -(-samples // self._hop)

    def last(self, windows: list[Samples], frames: list[int]) -> Tensor:
        """B windows -> the last hidden state (B, T, D)."""
        mel = self.processor(windows, sampling_rate=RATE, return_tensors="pt").input_features
        last: Tensor = self.encoder(mel.to(self.model.device, self.model.dtype)).last_hidden_state
        return last
