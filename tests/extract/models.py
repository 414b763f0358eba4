"""Small speech models of random weights, as folders of transformers."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray

from mer_lightning.config.extract import SpeechConfig
from mer_lightning.extract.speech import make

RATE = 16_000


DEPTH = 4


KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "hubert-base": ("Hubert", {}),
    "hubert-large": ("Hubert", {"feat_extract_norm": "layer", "do_stable_layer_norm": True}),
    "hubert-batch-norm": ("Hubert", {"conv_pos_batch_norm": True, "feat_proj_layer_norm": False}),
    "wav2vec2-base": ("Wav2Vec2", {"add_adapter": True}),
    "wav2vec2-large": ("Wav2Vec2", {"feat_extract_norm": "layer", "do_stable_layer_norm": True}),
    "wavlm-base": ("WavLM", {}),
    "wavlm-large": ("WavLM", {"feat_extract_norm": "layer", "do_stable_layer_norm": True}),
}


Clip = NDArray[np.float32]


def save(folder: Path, kind: str, suffix: str = "Model") -> Path:
    """A small model of random weights, large enough for attention to look around."""
    family, settings = KINDS[kind]
    small = {
        "hidden_size": 24,
        "intermediate_size": 32,
        "num_hidden_layers": DEPTH,
        "num_attention_heads": 2,
        "conv_dim": (8,) * 7,
        "num_conv_pos_embeddings": 16,
        "num_conv_pos_embedding_groups": 4,
        "vocab_size": 5,
        "initializer_range": 0.4,
    }
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**small, **settings)
    model = getattr(transformers, f"{family}{suffix}")(config)
    for name, values in model.named_buffers():  # of the batch norm
        if name.endswith("running_mean"):
            values.uniform_(-1, 1)
    model.save_pretrained(folder)
    return folder


def encoder(folder: Path | str, layers: list[int], dtype: torch.dtype = torch.float32, **change: Any) -> Any:
    settings = {"revision": None, "window": 30.0, "batch_seconds": 120.0} | change
    made = SpeechConfig(model=str(folder), layers=layers, **settings)
    return make("hubert", made, torch.device("cpu"), dtype)


def save_whisper(folder: Path, suffix: str = "Model") -> Path:
    """A small Whisper that hears windows of one second."""
    torch.manual_seed(0)
    config = transformers.WhisperConfig(
        d_model=16, encoder_layers=DEPTH, decoder_layers=2, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32, num_mel_bins=8,
        max_source_positions=50, vocab_size=300,
        init_std=0.4, pad_token_id=256, bos_token_id=256, eos_token_id=256, decoder_start_token_id=257,
        max_target_positions=40, suppress_tokens=None, begin_suppress_tokens=None,
    )  # fmt: skip
    getattr(transformers, f"Whisper{suffix}")(config).save_pretrained(folder)
    transformers.WhisperFeatureExtractor(feature_size=8, chunk_length=1).save_pretrained(folder)
    return folder


def speech(*seconds: float, seed: int = 0) -> list[Clip]:
    """Noise that changes its colour and its loudness, off centre."""
    rng = np.random.default_rng(seed)
    clips = []
    for length in seconds:
        n = max(1, round(length * RATE))
        noise = rng.normal(size=n) * (1.2 + np.sin(np.arange(n) / rng.uniform(500, 3000)))
        clips.append((0.1 * np.convolve(noise, rng.normal(size=8), "same")[:n] + 0.05).astype(np.float32))
    return clips


@cache
def whole(folder: Path) -> Any:
    return transformers.AutoModel.from_pretrained(folder).eval()


def hidden_states(folder: Path, clip: Clip, normalise: bool) -> list[Clip]:
    """Of one clip, from the whole model: (T, D) for each k."""
    extractor = transformers.Wav2Vec2FeatureExtractor(do_normalize=normalise)
    values = extractor(clip, sampling_rate=RATE, return_tensors="pt").input_values
    model = whole(folder)
    if model.config.do_stable_layer_norm:  # older versions normalise the last of them
        model.encoder.layer_norm = torch.nn.Identity()
    with torch.inference_mode():
        states = model(values, output_hidden_states=True).hidden_states
    return [state[0].numpy() for state in states]


def normalised(kind: str) -> bool:
    return "large" in kind


def assert_close(one: Clip, other: Clip) -> None:
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-4)
