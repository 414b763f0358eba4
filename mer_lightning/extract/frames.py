"""Encoders of pictures: frames of many clips in one forward pass, the mean over each clip's own."""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import convert_conv2d_weight_memory_format

from mer_lightning.extract.encoder import Features, Modality

FACE = (224, 224)  # height and width of a crop


class FrameEncoder:
    """An ``Encoder`` of pictures: what a network makes of each frame, the mean; or of a video at once."""

    def __init__(
        self,
        network: nn.Module,
        provenance: dict[str, dict[str, Any]],
        *,
        device: torch.device,
        dtype: torch.dtype,
        batch: int,
        prepare: Callable[[NDArray[np.uint8]], Tensor],
        source: Modality = "faces",
        video: int = 0,
    ) -> None:
        """``provenance``: of each feature set, in the order of the network's outputs.

        prepare: (N, 224, 224, 3) uint8 -> images (N, 3, H, W); video: frames that the network takes at once,
        0 for one of pictures; network: images, or (N, video, 3, H, W) -> a tensor (N, D) for each set.
        """
        self.provenance = provenance
        self.device, self.dtype, self.batch = device, dtype, batch
        self.prepare, self.source, self.video = prepare, source, video
        # pixels come channels last; convolutions are a tenth faster if they need not turn them around
        self.network = convert_conv2d_weight_memory_format(network.eval().to(device), torch.channels_last)

    def encode(self, clips: Sequence[NDArray[Any]]) -> list[Features]:
        """Pictures (F_i, 224, 224, 3) of each clip -> its features (D,)."""
        if not clips:
            return []
        counts, size = [len(clip) for clip in clips], self.batch
        if self.video:
            clips = [evenly(clip, self.video) for clip in clips]
            counts, size = [1] * len(clips), max(1, size // self.video) * self.video
        made = [self._embed(images) for images in batches(clips, size)]
        sets = [torch.split(torch.cat(parts), counts) for parts in zip(*made, strict=True)]
        return [
            {name: own.mean(dim=0).numpy() for name, own in zip(self.provenance, clip, strict=True)}
            for clip in zip(*sets, strict=True)
        ]

    @torch.inference_mode()
    def _embed(self, images: NDArray[np.uint8]) -> list[Tensor]:
        """Images (N, 224, 224, 3) -> embeddings (N, D) of each set, 32 bits, on the CPU."""
        pixels = self.prepare(images).to(self.device)
        if self.video:
            pixels = pixels.reshape(-1, self.video, *pixels.shape[1:])
        # weights stay in 32 bits: with the statistics of its norms rounded, a network is half as accurate
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            embeddings = self.network(pixels)
        return [e.float().cpu() for e in ([embeddings] if isinstance(embeddings, Tensor) else embeddings)]


def evenly(clip: NDArray[Any], count: int) -> NDArray[Any]:
    """(F, ...) -> (count, ...): frames at even distances, the first and the last among them; some twice."""
    chosen = np.linspace(0, len(clip) - 1, count).round().astype(int)
    return np.take(clip, chosen, axis=0)


def batches(clips: Sequence[NDArray[Any]], size: int) -> Iterator[NDArray[Any]]:
    """All frames of all clips in order, ``size`` at a time: (size, H, W, 3), the last one fewer."""
    frames = chain.from_iterable(clips)
    while batch := list(islice(frames, size)):
        yield np.stack(batch)
