"""Faces or whole frames: an image model of transformers, averaged over time, or a video model."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mer_lightning.config.extract import VisionConfig
from mer_lightning.data.arrays import brief
from mer_lightning.errors import UserError, reading
from mer_lightning.extract.encoder import Encoder
from mer_lightning.extract.frames import FACE, FrameEncoder
from mer_lightning.extract.hub import find, load_model, load_processor, read_config, takes
from mer_lightning.extract.weights import digest

TEXT_ONLY = ("text_model", "text_projection", "logit_scale", "logit_bias")  # of models that see and read


class Processor:
    """A model's image processor. Nothing is cut off: pictures are squares, made the size of its crop."""

    def __init__(self, processor: Any) -> None:
        self.processor = processor
        cropped = getattr(processor, "do_center_crop", False)
        size = processor.crop_size if cropped else processor.size
        side = size.get("shortest_edge")
        self.size = (size.get("height") or side, size.get("width") or side)
        own_crop = hasattr(processor, "crop_pct")  # enlarges and cuts by itself, from one number
        self.options: dict[str, Any] = {"do_center_crop": False} | (
            {"crop_pct": 1.0} if own_crop else {"size": {"height": self.size[0], "width": self.size[1]}}
        )

    def __call__(self, images: NDArray[np.uint8]) -> Tensor:
        """(N, 224, 224, 3), RGB -> (N, 3, H, W)."""
        made: Tensor = self.processor(
            list(images), return_tensors="pt", input_data_format="channels_last", **self.options
        ).pixel_values
        return made.flatten(0, -4)  # those of videos add a dimension

    @property
    def described(self) -> dict[str, Any]:
        """What provenance says of it."""
        p = self.processor
        mean, std = (p.image_mean, p.image_std) if p.do_normalize else ([0.0] * 3, [1.0] * 3)
        return {"input": list(self.size), "mean": list(mean), "std": list(std)}


class Pooled(nn.Module):
    """Images (N, 3, H, W), or videos (N, T, 3, H, W) -> (N, D) of each layer."""

    def __init__(self, model: Any, pooling: str, layers: list[int]) -> None:
        super().__init__()
        self.model, self.pooling, self.layers = model, pooling, layers

    def forward(self, images: Tensor) -> list[Tensor]:
        """One pass."""
        if self.pooling == "projected":
            return [self.model.get_image_features(pixel_values=images).pooler_output]
        tower = getattr(self.model, "vision_model", self.model)
        out = tower(pixel_values=images, output_hidden_states=bool(self.layers))
        if self.pooling == "pooled":
            return [out.pooler_output.flatten(1)]
        states = [out.hidden_states[k] for k in self.layers] if self.layers else [out.last_hidden_state]
        if self.pooling == "cls":
            if not any("cls" in name or "class_emb" in name for name, _ in tower.named_parameters()):
                raise ValueError("it has no token of the whole")
            return [state[:, 0] for state in states]
        over = (2, 3) if states[0].dim() == 4 else 1  # a map (N, D, H, W), or tokens (N, T, D)
        return [state.mean(dim=over) for state in states]


def make(name: str, settings: VisionConfig, device: torch.device, dtype: torch.dtype) -> Encoder:
    """The encoder of the feature set NAME, or of NAME_k for each of ``settings.layers``.

    Raises UserError for a model that is not available, that sees nothing, or lacks what is asked for.
    """
    key, layers = f"extract.{name}", settings.layers
    remedy = f"give {key}.model an image or video model: a name on the hub, or a folder of transformers"
    pretrained = find(f"{key}.model", settings.model, settings.revision)
    config = read_config(pretrained, lambda model: bool(takes(model) & {"image", "video"}), remedy)
    seeing = getattr(config, "vision_config", config)
    depth = getattr(seeing, "num_hidden_layers", len(getattr(seeing, "depths", ())))
    if max(layers, default=0) > depth:
        raise UserError(f"{key}.layers={layers}: {pretrained.name} has layers 0 to {depth}, ask for those")
    model = load_model(pretrained, config, remedy, pooled=settings.pooling == "pooled")
    for part in TEXT_ONLY:
        if hasattr(model, part):
            delattr(model, part)
    with reading(pretrained.folder, f"restore the image processor's file, or {remedy}"):
        processor = Processor(load_processor(pretrained.folder, "AutoImageProcessor", remedy, backend="pil"))
    described = {
        "encoder": name,
        "model": pretrained.name,
        "revision": pretrained.revision,
        "weights": digest(model.state_dict()),
        "of": settings.of,
        "pooling": settings.pooling,
        **processor.described,
    }
    video = getattr(config, "num_frames", 0) if "video" in takes(model) else 0
    made = FrameEncoder(
        Pooled(model, settings.pooling, layers),
        {f"{name}_{k}": described | {"layer": k} for k in layers} or {name: described},
        device=device,
        dtype=dtype,
        batch=settings.batch,
        prepare=processor,
        source="faces" if settings.of == "faces" else "frames",
        video=video,
    )
    try:
        made.encode([np.zeros((1, *FACE, 3), np.uint8)])
    except Exception as error:
        raise UserError(
            f"{key}.pooling={settings.pooling}: {pretrained.name} does not give that ({brief(error)}); "
            f"use pooled, projected, cls or mean, or {remedy}"
        ) from error
    return made
