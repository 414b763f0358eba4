"""Facial expression: MA-Net, whose tensors have the names of the published weights.

Zhao et al., "Learning Deep Global Multi-scale and Local Attention Features for Facial Expression Recognition
in the Wild". 1024 numbers of a face: 512 of its quarters with attention, 512 of the whole on several scales.
"""

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from mer_lightning.config.extract import ManetConfig
from mer_lightning.errors import UserError
from mer_lightning.extract.encoder import Encoder
from mer_lightning.extract.frames import FACE, FrameEncoder
from mer_lightning.extract.weights import digest, fitted, read_tensors

REMEDY = (
    "give extract.manet.weights=FILE, MA-Net's published RAF-DB weights (.pth) or the same as .safetensors, "
    "or leave manet out of extract.features"
)


def convolution(inputs: int, outputs: int, stride: int = 1, size: int = 3) -> nn.Conv2d:
    """(N, inputs, H, W) -> (N, outputs, H / stride, W / stride)."""
    return nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False)


class ChannelGate(nn.Module):
    """Which channels count: (N, C, H, W) -> the same, each channel times 0..1."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = channels // 16
        self.mlp = nn.Sequential(
            nn.Flatten(), nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Gate by the sum of what the mean and the maximum over the plane say."""
        gate: Tensor = self.mlp(x.mean(dim=(2, 3))) + self.mlp(x.amax(dim=(2, 3)))
        return x * gate.sigmoid()[:, :, None, None]


class SpatialGate(nn.Module):
    """Which places count: (N, C, H, W) -> the same, each place times 0..1."""

    def __init__(self) -> None:
        super().__init__()
        layers = {"conv": convolution(2, 1, size=7), "bn": nn.BatchNorm2d(1)}
        self.spatial = nn.Sequential(OrderedDict(layers))

    def forward(self, x: Tensor) -> Tensor:
        """Gate by the maximum and the mean over the channels around each place."""
        gate: Tensor = self.spatial(torch.stack([x.amax(dim=1), x.mean(dim=1)], dim=1))
        return x * gate.sigmoid()


class Residual(nn.Module):
    """What the three kinds of block share: (N, inputs, H, W) -> (N, outputs, H / stride, W / stride)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = convolution(inputs, outputs, stride)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.downsample = nn.Sequential()  # the identity, where the shape stays
        if stride != 1 or inputs != outputs:
            self.downsample.append(convolution(inputs, outputs, stride, size=1))
            self.downsample.append(nn.BatchNorm2d(outputs))

    def residual(self, x: Tensor) -> Tensor:
        """What is added to the shortcut, given the first convolution (N, outputs, H', W')."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Shortcut and residual."""
        return F.relu(self.residual(F.relu(self.bn1(self.conv1(x)))) + self.downsample(x))


class Block(Residual):
    """The basic block of a ResNet."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__(inputs, outputs, stride)
        self.conv2 = convolution(outputs, outputs)
        self.bn2 = nn.BatchNorm2d(outputs)

    def residual(self, x: Tensor) -> Tensor:
        """A second convolution."""
        out: Tensor = self.bn2(self.conv2(x))
        return out


class AttentionBlock(Block):
    """A basic block whose residual is gated by channel, then by place (CBAM)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__(inputs, outputs, stride)
        gates = {"ChannelGate": ChannelGate(outputs), "SpatialGate": SpatialGate()}
        self.cbam = nn.Sequential(OrderedDict(gates))

    def residual(self, x: Tensor) -> Tensor:
        """A second convolution and the gates."""
        out: Tensor = self.cbam(super().residual(x))
        return out


class MultiScaleBlock(Residual):
    """A block whose residual sees quarters of the channels on growing scales, by two chains side by side."""

    CHAINS, QUARTERS = (1, 2), (1, 2, 3, 4)

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__(inputs, outputs, stride)
        for chain in self.CHAINS:
            for quarter in self.QUARTERS:
                self.add_module(f"conv{chain}_2_{quarter}", convolution(outputs // 4, outputs // 4))
                self.add_module(f"bn{chain}_2_{quarter}", nn.BatchNorm2d(outputs // 4))

    def _chain(self, chain: int, quarters: tuple[Tensor, ...]) -> Tensor:
        """Each quarter (N, C / 4, H, W) with what was made of the one before -> all (N, C, H, W)."""
        out: list[Tensor] = []
        for number, quarter in zip(self.QUARTERS, quarters, strict=True):
            x = quarter + F.relu(out[-1]) if out else quarter
            convolved = self.get_submodule(f"conv{chain}_2_{number}")(x)
            out.append(self.get_submodule(f"bn{chain}_2_{number}")(convolved))
        return torch.cat(out, dim=1)

    def residual(self, x: Tensor) -> Tensor:
        """The sum of both chains."""
        quarters = x.chunk(4, dim=1)
        first, second = (self._chain(chain, quarters) for chain in self.CHAINS)
        return first + second


def stage(
    block: Callable[[int, int, int], Residual], inputs: int, outputs: int, stride: int
) -> nn.Sequential:
    """Two blocks, the first of which changes the shape."""
    return nn.Sequential(block(inputs, outputs, stride), block(outputs, outputs, 1))


class MANet(nn.Module):
    """Faces (N, 3, 224, 224) in 0..1 -> embeddings (N, 1024)."""

    PATCHES = (1, 2, 3, 4)  # top left, top right, bottom left, bottom right

    def __init__(self, classes: int = 7) -> None:
        super().__init__()
        self.conv1 = convolution(3, 64, stride=2, size=7)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = stage(Block, 64, 64, 1)
        self.layer2 = stage(Block, 64, 128, 2)
        for patch in self.PATCHES:
            self.add_module(f"layer3_1_p{patch}", stage(AttentionBlock, 128, 256, 2))
            self.add_module(f"layer4_1_p{patch}", stage(AttentionBlock, 256, 512, 1))
        self.layer3_2 = stage(MultiScaleBlock, 128, 256, 2)
        self.layer4_2 = stage(MultiScaleBlock, 256, 512, 2)
        # the published weights have them; embeddings are what they read
        self.fc_1 = nn.Linear(512, classes)
        self.fc_2 = nn.Linear(512, classes)

    def _local(self, x: Tensor) -> Tensor:
        """(N, 128, 28, 28) -> (N, 512). Patches of one size: the mean of their means is the whole's mean."""
        patches = [patch for row in x.chunk(2, dim=2) for patch in row.chunk(2, dim=3)]
        means = []
        for number, patch in zip(self.PATCHES, patches, strict=True):
            deeper = self.get_submodule(f"layer3_1_p{number}")(patch)
            means.append(self.get_submodule(f"layer4_1_p{number}")(deeper).mean(dim=(2, 3)))
        return torch.stack(means).mean(dim=0)

    def forward(self, x: Tensor) -> Tensor:
        """The local half, then the multi-scale half."""
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, stride=2, padding=1)
        x = self.layer2(self.layer1(x))
        whole = self.layer4_2(self.layer3_2(x)).mean(dim=(2, 3))
        return torch.cat([self._local(x), whole], dim=1)


def empty() -> MANet:
    """A network without values, made in no time."""
    with torch.device("meta"):
        return MANet()


def read_weights(path: Path) -> dict[str, Tensor]:
    """MA-Net's state dict from a PyTorch file (a state dict or training checkpoint) or a safetensors file.

    Raises UserError unless every tensor is there, none is too many, and all have their shapes.
    """
    return fitted(read_tensors(path, REMEDY), empty().state_dict(), path, REMEDY)


def make(name: str, settings: ManetConfig, device: torch.device, dtype: torch.dtype) -> Encoder:
    """The encoder of the feature set NAME. Raises UserError where the weights are not to be had."""
    if settings.weights is None:
        raise UserError(f"extract.manet.weights is not given: MA-Net needs pretrained weights; {REMEDY}")
    weights = read_weights(Path(settings.weights).expanduser())
    network = empty()
    network.load_state_dict(weights, assign=True)
    described = {
        "encoder": name,
        "weights": digest(weights),
        "input": list(FACE),
        "pooling": "mean over frames",
    }
    return FrameEncoder(
        network, {name: described}, device=device, dtype=dtype, batch=settings.batch, prepare=plain
    )


def plain(images: NDArray[np.uint8]) -> Tensor:
    """(N, H, W, 3), 0..255 -> (N, 3, H, W), 0..1."""
    return torch.from_numpy(images).permute(0, 3, 1, 2) / 255
