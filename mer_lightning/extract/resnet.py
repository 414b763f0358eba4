"""Face appearance: a ResNet's pooled output, 2048 numbers of a face for a ResNet-50."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mer_lightning.config.extract import ResnetConfig
from mer_lightning.errors import UserError, reading
from mer_lightning.extract.encoder import Encoder
from mer_lightning.extract.frames import FACE, FaceEncoder
from mer_lightning.extract.hub import find, quiet
from mer_lightning.extract.weights import digest, refusing

REMEDY = "give extract.resnet.model a ResNet: a name on the hub, or a folder of transformers"


@dataclass(frozen=True)
class Preparation:
    """What a model was trained to see; where it does not say, ImageNet's statistics at the crops' size."""

    input: tuple[int, int] = FACE  # height, width
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)  # of red, green, blue in 0..1
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    def __call__(self, pixels: Tensor) -> Tensor:
        """Pixels (N, 3, 224, 224), 0..255 -> images (N, 3, H, W). Nothing is cut off: crops are faces."""
        mean, std = (torch.tensor(v, device=pixels.device)[:, None, None] for v in (self.mean, self.std))
        if pixels.shape[2:] != self.input:
            pixels = F.interpolate(pixels, self.input, mode="bilinear", antialias=True)
        return (pixels / 255 - mean) / std


class Pooled(nn.Module):
    """Images (N, 3, H, W) -> pooled output (N, D)."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """The mean of the last stage's map."""
        pooled: Tensor = self.model(images).pooler_output
        return pooled.flatten(1)


def make(settings: ResnetConfig, device: torch.device, dtype: torch.dtype) -> Encoder:
    """The encoder of the feature set ``resnet``. UserError for a model that is not to be had, or is none."""
    pretrained = find("extract.resnet.model", settings.model, settings.revision)
    model = _load(pretrained.folder)
    prepare = _preparation(pretrained.folder / "preprocessor_config.json")
    description = {
        "model": pretrained.name,
        "revision": pretrained.revision,
        "weights": digest(model.state_dict()),
        **{key: list(value) for key, value in asdict(prepare).items()},
    }
    return FaceEncoder(
        "resnet",
        Pooled(model),
        description,
        device=device,
        dtype=dtype,
        batch=settings.batch,
        prepare=prepare,
    )


def _load(folder: Path) -> nn.Module:
    """The model, without a classifier, in 32 bits on the CPU."""
    from transformers import AutoConfig, ResNetModel  # late: takes seconds

    with reading(folder, REMEDY), quiet(), refusing(folder, REMEDY):
        config: Any = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        if config.model_type != "resnet":
            raise UserError(f"{folder}: a model of type {config.model_type}; {REMEDY}")
        loaded: Any = ResNetModel.from_pretrained(
            folder, config=config, dtype=torch.float32, weights_only=True, output_loading_info=True
        )
    model: nn.Module
    model, report = loaded
    if report["missing_keys"]:  # they would be random
        raise UserError(f"{folder}: has no weights for {min(report['missing_keys'])}, among others; {REMEDY}")
    return model


def _preparation(path: Path) -> Preparation:
    """What the model's folder says of its images."""
    if not path.is_file():
        return Preparation()
    with reading(path, "restore it, or remove it for ImageNet's values"):
        content = json.loads(path.read_text(encoding="utf-8"))
        if not content.get("do_normalize", True):
            return Preparation(_size(content), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
        mean = content.get("image_mean", Preparation.mean)
        std = content.get("image_std", Preparation.std)
        return Preparation(_size(content), _colours(mean), _colours(std))


def _colours(values: Sequence[float]) -> tuple[float, float, float]:
    red, green, blue = values
    return float(red), float(green), float(blue)


def _size(content: dict[str, Any]) -> tuple[int, int]:
    """Height and width: the centre that is cut out of what is resized, or else all of that."""
    size = content.get("crop_size") if content.get("do_center_crop") else content.get("size")
    if size is None:
        return FACE
    if not isinstance(size, dict):
        return int(size), int(size)
    side: Any = size.get("shortest_edge")
    return int(size.get("height", side)), int(size.get("width", side))
