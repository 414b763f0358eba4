"""Transcripts: a sentence or token encoder of transformers, the mean over the tokens."""

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mer_lightning.config.extract import TextConfig
from mer_lightning.errors import UserError
from mer_lightning.extract.encoder import Encoder, Features, Modality
from mer_lightning.extract.hub import find, load_model, load_processor, read_config, takes
from mer_lightning.extract.weights import digest


class TextEncoder:
    """An ``Encoder`` of transcripts, in batches of similar lengths."""

    source: Modality = "text"

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        settings: TextConfig,
        provenance: dict[str, dict[str, Any]],
        longest: int,
    ) -> None:
        """``provenance``: of the feature set of each layer, in their order, or of the last's alone."""
        self.provenance = provenance
        self._model, self._tokenizer = model, tokenizer
        self._layers, self._batch, self._longest = settings.layers, settings.batch, longest

    def encode(self, clips: Sequence[Any]) -> list[Features]:
        """Transcripts -> ``NAME`` or ``NAME_k`` (D,), the mean over the tokens of hidden_states[k]."""
        found: list[Features] = [{} for _ in clips]
        order = sorted(range(len(clips)), key=lambda i: -len(clips[i]))
        for start in range(0, len(order), self._batch):
            chosen = order[start : start + self._batch]
            for name, means in zip(self.provenance, self._means([clips[i] for i in chosen]), strict=True):
                for i, mean in zip(chosen, means.cpu().numpy(), strict=True):
                    found[i][name] = mean
        return found

    @torch.inference_mode()
    def _means(self, texts: list[str]) -> list[Tensor]:
        """B texts -> (B, D) of each layer."""
        tokens = self._tokenizer(
            texts, padding=True, truncation=True, max_length=self._longest, return_tensors="pt"
        ).to(self._model.device)
        given = {"input_ids": tokens["input_ids"], "attention_mask": tokens["attention_mask"]}
        out = self._model(**given, output_hidden_states=bool(self._layers))
        states = [out.hidden_states[k] for k in self._layers] if self._layers else [out.last_hidden_state]
        mask = tokens["attention_mask"][:, :, None]  # (B, T, 1)
        return [(state.float() * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1) for state in states]


def make(name: str, settings: TextConfig, device: torch.device, dtype: torch.dtype) -> Encoder:
    """The encoder of the feature set NAME, or of NAME_k for each of ``settings.layers``.

    Raises UserError for a model that is not available or does not read, and for a layer that it lacks.
    """
    key, layers = f"extract.{name}", settings.layers
    remedy = f"give {key}.model a model of text: a name on the hub, or a folder of transformers"
    pretrained = find(f"{key}.model", settings.model, settings.revision)
    config = read_config(pretrained, lambda model: takes(model) == {"text"}, remedy)
    depth = config.num_hidden_layers
    if max(layers, default=0) > depth:
        raise UserError(f"{key}.layers={layers}: {pretrained.name} has layers 0 to {depth}, ask for those")
    model = load_model(pretrained, config, remedy)
    model = model.get_encoder() if config.is_encoder_decoder else model
    tokenizer = load_processor(pretrained.folder, "AutoTokenizer", remedy)
    tokenizer.padding_side = "right"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    longest = min(settings.tokens, tokenizer.model_max_length, positions(model))
    described = {
        "encoder": name,
        "model": pretrained.name,
        "revision": pretrained.revision,
        "weights": digest(model.state_dict()),
        "vocabulary": hashlib.sha256(repr(sorted(tokenizer.get_vocab().items())).encode()).hexdigest()[:16],
        "tokens": longest,
        "pooling": "mean over tokens",
    }
    provenance = {f"{name}_{k}": described | {"layer": k} for k in layers} or {name: described}
    return TextEncoder(model.to(device=device, dtype=dtype), tokenizer, settings, provenance, longest)


def positions(model: torch.nn.Module) -> float:
    """How many tokens a model can tell apart by their place; no limit where places are relative."""
    tables: list[Any] = [m for n, m in model.named_modules() if n.endswith(("position_embeddings", "wpe"))]
    sizes = [m.num_embeddings - (0 if m.padding_idx is None else m.padding_idx + 1) for m in tables]
    return min(sizes, default=math.inf)
