"""Acoustic levels: layers of a HuBERT, wav2vec 2.0 or WavLM, averaged over time, from one forward pass."""

import hashlib
import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from mer_lightning.config.extract import HubertConfig
from mer_lightning.errors import UserError, reading
from mer_lightning.extract.encoder import Encoder, Features, Source
from mer_lightning.extract.hub import Pretrained, find, quiet
from mer_lightning.extract.weights import digest

RATE = 16_000
NO_BATCHES = ("cpu",)  # devices that one clip keeps busy: there padding only adds work, half as much again
FAMILIES = ("hubert", "wav2vec2", "wavlm")
REMEDY = (
    "give extract.hubert.model a HuBERT, wav2vec 2.0 or WavLM: a name on the hub, or a folder of transformers"
)

Samples = NDArray[np.float32]  # (n,)


def make(settings: HubertConfig, device: torch.device, dtype: torch.dtype) -> Encoder:
    """The encoder of feature sets ``hubert_k``, one for each of ``settings.layers``.

    Raises UserError for a model that cannot be had, is none of these families or has fewer layers.
    """
    pretrained = find("extract.hubert.model", settings.model, settings.revision)
    model = _load(pretrained, settings.layers)
    normalise = _normalises(pretrained.folder, model.config)
    provenance = _provenance(pretrained, model, settings, normalise)
    return HubertEncoder(model.to(device=device, dtype=dtype), settings, normalise, provenance)


def _configuration(pretrained: Pretrained, layers: list[int]) -> Any:
    """The model's configuration, cut after the deepest of the layers."""
    from transformers import AutoConfig  # late: takes seconds

    config: Any = AutoConfig.from_pretrained(pretrained.folder, trust_remote_code=False)
    if config.model_type not in FAMILIES:
        raise UserError(f"{pretrained.name} is a model of type {config.model_type}: {REMEDY}")
    depth = config.num_hidden_layers
    if max(layers) > depth:
        raise UserError(
            f"extract.hubert.layers={layers}: {pretrained.name} has layers 0 to {depth}, ask for those"
        )
    config.num_hidden_layers = max(layers)
    config.mask_time_prob = config.mask_feature_prob = 0.0  # what only training uses
    config.add_adapter = False  # comes after the last layer
    return config


def _load(pretrained: Pretrained, layers: list[int]) -> Any:
    """The model up to the deepest of the layers, in 32 bits on the CPU, in evaluation mode."""
    from transformers import AutoModel

    folder = pretrained.folder
    with reading(folder, REMEDY), quiet():
        config = _configuration(pretrained, layers)
        try:
            model, report = AutoModel.from_pretrained(
                folder,
                config=config,
                trust_remote_code=False,
                dtype=torch.float32,
                weights_only=True,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
        except UnpicklingError as error:  # whose own text is advice to load it unsafely
            raise UserError(f"{folder}: its weights could run code, or are damaged; {REMEDY}") from error
    # either would be random
    unfit = sorted(report["missing_keys"]) + [name for name, *_ in report["mismatched_keys"]]
    if unfit:
        raise UserError(f"{folder}: its weights do not fit its config.json, at {unfit[0]}; {REMEDY}")
    if config.do_stable_layer_norm:
        model.encoder.layer_norm = nn.Identity()  # is for last_hidden_state, not for hidden_states[-1]
    return model.eval()


def _normalises(folder: Path, config: Any) -> bool:
    """Whether the model was trained on clips of mean zero and variance one."""
    for name in ("preprocessor_config.json", "processor_config.json"):
        file = folder / name
        if file.is_file():
            with reading(file, "restore it"):
                content = json.loads(file.read_text(encoding="utf-8"))
                return bool(content.get("feature_extractor", content).get("do_normalize", True))
    return bool(config.feat_extract_norm == "layer")


def _provenance(
    pretrained: Pretrained, model: Any, settings: HubertConfig, normalise: bool
) -> dict[str, dict[str, Any]]:
    """Of each feature set. Its digest is of the layers up to its own, so that the others do not change it."""
    layers = model.encoder.layers
    shallow = {name: tensor for name, tensor in model.state_dict().items() if "encoder.layers." not in name}
    digests = [digest(shallow), *(digest(layer.state_dict()) for layer in layers)]
    return {
        f"hubert_{k}": {
            "encoder": "hubert",
            "model": pretrained.name,
            "revision": pretrained.revision,
            "weights": hashlib.sha256("".join(digests[: k + 1]).encode()).hexdigest()[:16],
            "layer": k,
            "window": settings.window,
            "normalised": normalise,
        }
        for k in settings.layers
    }


class Window(NamedTuple):
    """A clip, or a part of a long one."""

    clip: int  # whose it is
    samples: Samples  # (n,), enough for a frame


class HubertEncoder:
    """A model cut after the deepest layer asked for, over windows, on a GPU in batches of similar lengths."""

    source: Source = "speech"

    def __init__(
        self, model: Any, settings: HubertConfig, normalise: bool, provenance: dict[str, dict[str, Any]]
    ) -> None:
        self.provenance = provenance
        self._model = model
        self._layers = settings.layers
        self._normalise = normalise
        self._window = settings.window * RATE
        self._convolutions = list(zip(model.config.conv_kernel, model.config.conv_stride, strict=True))
        self._shortest = 1  # samples that give one frame
        for kernel, stride in reversed(self._convolutions):
            self._shortest = (self._shortest - 1) * stride + kernel
        # a group norm averages over time, padding too, so its convolutions see one clip at a time
        self._convolve_alone = model.config.feat_extract_norm == "group"
        # and a batch norm turns the zeros after a short clip into something else
        alone = getattr(model.config, "conv_pos_batch_norm", False) or model.device.type in NO_BATCHES
        self._batch = 0 if alone else settings.batch_seconds * RATE
        # WavLM's own way to call torch, about which its user can do nothing
        warnings.filterwarnings("ignore", "Support for mismatched key_padding_mask", UserWarning)

    def encode(self, clips: Sequence[NDArray[Any]]) -> list[Features]:
        """Of each clip, (n,) samples: ``hubert_k`` (D,), the mean over its frames of hidden_states[k]."""
        windows = [Window(i, samples) for i, clip in enumerate(clips) for samples in self._windows(clip)]
        sums = np.zeros((len(clips), len(self._layers), self._model.config.hidden_size))
        frames = np.zeros(len(clips))
        for batch in batches(windows, self._batch):
            owners = [window.clip for window in batch]
            counts = [self._frames(len(window.samples)) for window in batch]
            np.add.at(sums, owners, self._sums([window.samples for window in batch], counts))
            np.add.at(frames, owners, counts)
        means = (sums / frames[:, None, None]).astype(np.float32)
        return [dict(zip(self.provenance, mean, strict=True)) for mean in means]

    def _windows(self, clip: Samples) -> list[Samples]:
        """(n,) -> a clip's windows, each long enough for a frame, normalised as the whole clip is."""
        if self._normalise:
            clip = (clip - clip.mean()) / np.sqrt(clip.var() + 1e-7)
        clip = np.pad(clip, (0, max(0, self._shortest - len(clip))))
        step = int(min(self._window, len(clip)))
        starts = range(0, len(clip) - self._shortest + 1, step)
        return [clip[a:b] for a, b in zip(starts, [*starts[1:], len(clip)], strict=True)]

    def _frames(self, samples: int) -> int:
        for kernel, stride in self._convolutions:
            samples = (samples - kernel) // stride + 1
        return samples

    def _sums(self, windows: list[Samples], frames: list[int]) -> NDArray[np.float32]:
        """B windows and their numbers of frames -> (B, K, D): each layer, summed over the frames."""
        encoder = self._model.encoder
        sums: dict[int, Tensor] = {}
        with torch.inference_mode(), ExitStack() as hooks:
            features = self._convolve(windows)
            counts = torch.tensor(frames, device=features.device)
            valid = torch.arange(features.shape[1], device=features.device) < counts[:, None]  # (B, T)

            def see(k: int, _module: nn.Module, given: tuple[Tensor, ...]) -> None:
                sums[k] = given[0].float().masked_fill(~valid[:, :, None], 0).sum(dim=1)

            # hidden_states[k] is what layer k is given; summed there and then, none of them is kept
            for k, layer in enumerate(encoder.layers):
                if k in self._layers:
                    hooks.enter_context(layer.register_forward_pre_hook(partial(see, k)))
            projected = self._model.feature_projection(features)
            hidden = projected if isinstance(projected, Tensor) else projected[0]
            padded = len(set(frames)) > 1
            last = encoder(hidden, attention_mask=valid if padded else None).last_hidden_state
            see(len(encoder.layers), encoder, (last,))
            return torch.stack([sums[k] for k in self._layers], dim=1).cpu().numpy()

    def _convolve(self, windows: list[Samples]) -> Tensor:
        """B windows -> what the convolutions make of them, (B, T, C)."""
        signals = [torch.from_numpy(window).to(self._model.device, self._model.dtype) for window in windows]
        groups = [[signal] for signal in signals] if self._convolve_alone else [signals]
        features = [self._model.feature_extractor(pad_sequence(group, batch_first=True)) for group in groups]
        return pad_sequence([one.T for group in features for one in group], batch_first=True)


def batches(windows: Sequence[Window], limit: float) -> Iterator[list[Window]]:
    """Windows of similar lengths together: at most ``limit`` samples with the padding, or one window."""
    batch: list[Window] = []
    for window in sorted(windows, key=lambda window: -len(window.samples)):  # the first is the longest
        if batch and len(batch[0].samples) * (len(batch) + 1) > limit:
            yield batch
            batch = []
        batch.append(window)
    if batch:
        yield batch
