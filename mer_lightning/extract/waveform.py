"""HuBERT, wav2vec 2.0 and WavLM: transformers over convolutions of the samples."""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from mer_lightning.config.extract import SpeechConfig
from mer_lightning.errors import reading
from mer_lightning.extract.windows import RATE, Samples, WindowEncoder, cut_up


class WaveformEncoder(WindowEncoder):
    """Windows of a clip, on a GPU in batches of similar lengths."""

    deep = ("encoder.layers.",)

    @staticmethod
    def cut(config: Any, depth: int) -> None:
        """Configure a model of so many layers, and without what only training uses."""
        config.num_hidden_layers = depth
        config.mask_time_prob = config.mask_feature_prob = 0.0
        config.add_adapter = False  # comes after the last layer

    def __init__(
        self,
        model: Any,
        settings: SpeechConfig,
        folder: Path,
        *,
        device: torch.device,
        dtype: torch.dtype,
        **_: Any,
    ) -> None:
        config = model.config
        if config.do_stable_layer_norm:
            model.encoder.layer_norm = nn.Identity()  # is for last_hidden_state, not for hidden_states[-1]
        super().__init__(model, settings, device, dtype)
        self.encoder = model.encoder
        self.normalise = normalises(folder, config)
        self.how = {"window": settings.window, "normalised": self.normalise}
        self.window = int(settings.window * RATE)
        self._convolutions = list(zip(config.conv_kernel, config.conv_stride, strict=True))
        self._shortest = 1  # samples that give one frame
        for kernel, stride in reversed(self._convolutions):
            self._shortest = (self._shortest - 1) * stride + kernel
        # a group norm averages over time, padding too, so its convolutions see one clip at a time
        self._convolve_alone = config.feat_extract_norm == "group"
        if getattr(
            config, "conv_pos_batch_norm", False
        ):  # turns the zeros after a short clip into something else
            self.batch = 0
        # WavLM's own way to call torch, about which its user can do nothing
        warnings.filterwarnings("ignore", "Support for mismatched key_padding_mask", UserWarning)

    def windows(self, clip: Samples) -> list[Samples]:
        """(n,) -> a clip's windows, each long enough for a frame, normalised as the whole clip is."""
        if self.normalise:
            clip = (clip - clip.mean()) / np.sqrt(clip.var() + 1e-7)
        return cut_up(clip, self.window, self._shortest)

    def frames(self, samples: int) -> int:
        """How many frames the convolutions make."""
        for kernel, stride in self._convolutions:
            samples = (samples - kernel) // stride + 1
        return samples

    def last(self, windows: list[Samples], frames: list[int]) -> Tensor:
        """B windows and their numbers of frames -> the last hidden state (B, T, D)."""
        features = self._convolve(windows)
        counts = torch.tensor(frames, device=features.device)
        valid = torch.arange(features.shape[1], device=features.device) < counts[:, None]
        projected = self.model.feature_projection(features)
        hidden = projected if isinstance(projected, Tensor) else projected[0]
        padded = len(set(frames)) > 1
        last: Tensor = self.encoder(hidden, attention_mask=valid if padded else None).last_hidden_state
        return last

    def _convolve(self, windows: list[Samples]) -> Tensor:
        """B windows -> what the convolutions make of them, (B, T, C)."""
        signals = [torch.from_numpy(window).to(self.model.device, self.model.dtype) for window in windows]
        groups = [[signal] for signal in signals] if self._convolve_alone else [signals]
        features = [self.model.feature_extractor(pad_sequence(group, batch_first=True)) for group in groups]
        return pad_sequence([one.T for group in features for one in group], batch_first=True)


def normalises(folder: Path, config: Any) -> bool:
    """Whether the model was trained on clips of mean zero and variance one."""
    for name in ("preprocessor_config.json", "processor_config.json"):
        file = folder / name
        if file.is_file():
            with reading(file, "restore it"):
                content = json.loads(file.read_text(encoding="utf-8"))
                return bool(content.get("feature_extractor", content).get("do_normalize", True))
    return bool(config.feat_extract_norm == "layer")
