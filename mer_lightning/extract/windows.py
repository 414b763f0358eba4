"""What all speech encoders do: clips into windows, windows into batches, sums over frames, means of clips."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mer_lightning.config.extract import SpeechConfig
from mer_lightning.extract.encoder import Features, Modality
from mer_lightning.extract.weights import digest

RATE = 16_000  # samples per second
NO_BATCHES = ("cpu",)  # devices that one clip keeps busy: there padding only adds work, half as much again

Samples = NDArray[np.float32]  # (n,)


class Window(NamedTuple):
    """A clip, or a part of a long one."""

    clip: int  # whose it is
    samples: Samples  # (n,), enough for a frame


class WindowEncoder:
    """An ``Encoder`` of layers of a transformer of speech: their means over a clip's frames.

    The transformer is cut after the deepest layer that is asked for.
    """

    source: Modality = "speech"
    encoder: Any
    deep: tuple[str, ...]  # how the names of its layers' tensors begin, and of what comes after them
    how: dict[str, Any]  # what its provenance says beyond the common
    window: int  # samples, at most

    def __init__(self, model: Any, settings: SpeechConfig, device: torch.device, dtype: torch.dtype) -> None:
        self.provenance: dict[str, dict[str, Any]] = {}
        self.model = model.to(device=device, dtype=dtype)
        self.layers = settings.layers
        self.batch = 0 if device.type in NO_BATCHES else settings.batch_seconds * RATE

    def describe(self, name: str, **common: Any) -> None:
        """Provenance of the sets NAME_k. A digest is of the layers up to k: others do not change it."""
        shallow = {n: t for n, t in self.model.state_dict().items() if not n.startswith(self.deep)}
        digests = [digest(shallow), *(digest(layer.state_dict()) for layer in self.encoder.layers)]
        for k in self.layers:
            weights = hashlib.sha256("".join(digests[: k + 1]).encode()).hexdigest()[:16]
            self.provenance[f"{name}_{k}"] = {
                "encoder": name,
                **common,
                "weights": weights,
                "layer": k,
                **self.how,
            }

    def encode(self, clips: Sequence[NDArray[Any]]) -> list[Features]:
        """Of each clip, (n,) samples: ``NAME_k`` (D,), the mean over its frames of hidden_states[k]."""
        windows = [Window(i, samples) for i, clip in enumerate(clips) for samples in self.windows(clip)]
        sums = np.zeros((len(clips), len(self.layers), self.model.config.hidden_size))
        frames = np.zeros(len(clips))
        for batch in batches(windows, self.batch):
            owners = [window.clip for window in batch]
            counts = [self.frames(len(window.samples)) for window in batch]
            np.add.at(sums, owners, self._sums([window.samples for window in batch], counts))
            np.add.at(frames, owners, counts)
        means = (sums / frames[:, None, None]).astype(np.float32)
        return [dict(zip(self.provenance, mean, strict=True)) for mean in means]

    def _sums(self, windows: list[Samples], frames: list[int]) -> NDArray[np.float32]:
        """B windows and their numbers of frames -> (B, K, D): each layer, summed over the frames."""
        sums: dict[int, Tensor] = {}

        def see(k: int, _module: nn.Module, given: tuple[Tensor, ...]) -> None:
            valid = torch.arange(given[0].shape[1])[None] < torch.tensor(frames)[:, None]  # (B, T)
            sums[k] = given[0].float().masked_fill(~valid[:, :, None].to(given[0].device), 0).sum(dim=1)

        with torch.inference_mode(), ExitStack() as hooks:
            # hidden_states[k] is what layer k is given; summed there and then, none of them is kept
            for k, layer in enumerate(self.encoder.layers):
                if k in self.layers:
                    hooks.enter_context(layer.register_forward_pre_hook(partial(see, k)))
            see(len(self.encoder.layers), self.encoder, (self.last(windows, frames),))
            return torch.stack([sums[k] for k in self.layers], dim=1).cpu().numpy()

    def windows(self, clip: Samples) -> list[Samples]:
        """(n,) -> a clip's windows, each long enough for a frame."""
        raise NotImplementedError

    def frames(self, samples: int) -> int:
        """How many frames the model makes of so many samples."""
        raise NotImplementedError

    def last(self, windows: list[Samples], frames: list[int]) -> Tensor:
        """B windows and their numbers of frames -> the last hidden state (B, T, D)."""
        raise NotImplementedError


def cut_up(clip: Samples, window: int, shortest: int) -> list[Samples]:
    """(n,) -> windows; a last one of fewer than ``shortest`` samples joins the one before."""
    clip = np.pad(clip, (0, max(0, shortest - len(clip))))
    starts = range(0, len(clip) - shortest + 1, min(window, len(clip)))
    return [clip[a:b] for a, b in zip(starts, [*starts[1:], len(clip)], strict=True)]


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
