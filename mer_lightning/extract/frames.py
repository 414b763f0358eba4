"""Encoders of face crops: frames of many clips in one forward pass, the mean over each clip's own."""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import convert_conv2d_weight_memory_format

from mer_lightning.extract.encoder import Features, Source

FACE = (224, 224)  # height and width of a crop


class FaceEncoder:
    """An ``Encoder`` of one feature set: what an image network makes of a clip's frames, their mean."""

    source: Source = "faces"

    def __init__(
        self,
        name: str,
        network: nn.Module,
        description: dict[str, Any],
        *,
        device: torch.device,
        dtype: torch.dtype,
        batch: int,
        prepare: Callable[[Tensor], Tensor],
    ) -> None:
        """``name``: of the feature set; ``description``: what its provenance says beyond the common.

        ``prepare``: pixels (N, 3, 224, 224), 0..255 -> images (N, 3, H, W); ``network``: images -> (N, D).
        """
        self.name = name
        self.description = description
        self.device, self.dtype, self.batch = device, dtype, batch
        self.prepare = prepare
        # pixels come channels last; convolutions are a tenth faster if they need not turn them around
        self.network = convert_conv2d_weight_memory_format(network.eval().to(device), torch.channels_last)

    @property
    def provenance(self) -> dict[str, dict[str, Any]]:
        """How the feature set is made."""
        return {self.name: {"encoder": self.name, **self.description, "pooling": "mean over frames"}}

    def encode(self, clips: Sequence[NDArray[Any]]) -> list[Features]:
        """Face crops (F_i, 224, 224, 3) of each clip -> its features (D,)."""
        if not clips:
            return []
        frames = torch.cat([self._embed(images) for images in batches(clips, self.batch)])
        means = [own.mean(dim=0) for own in torch.split(frames, [len(clip) for clip in clips])]
        return [{self.name: mean.numpy()} for mean in means]

    @torch.inference_mode()
    def _embed(self, images: NDArray[np.uint8]) -> Tensor:
        """Images (N, 224, 224, 3) -> embeddings (N, D), 32 bits, on the CPU."""
        pixels = torch.from_numpy(images).to(self.device).permute(0, 3, 1, 2).float()
        # weights stay in 32 bits: with the statistics of its norms rounded, a network is half as accurate
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            embeddings: Tensor = self.network(self.prepare(pixels))
        return embeddings.float().cpu()


def batches(clips: Sequence[NDArray[Any]], size: int) -> Iterator[NDArray[Any]]:
    """All frames of all clips in order, ``size`` at a time: (size, H, W, 3), the last one fewer."""
    frames = chain.from_iterable(clips)
    while batch := list(islice(frames, size)):
        yield np.stack(batch)
