"""Acoustic levels: what transformers makes of each clip alone, however the clips are batched and cut."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mer_lightning.errors import UserError
from mer_lightning.extract.hubert import HubertEncoder, Window, batches, make
from mer_lightning.extract.settings import HubertConfig

transformers = pytest.importorskip("transformers")

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


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {kind: save(root / kind, kind) for kind in KINDS}


@pytest.fixture(autouse=True)
def _batched_as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mer_lightning.extract.hubert.NO_BATCHES", ())


def encoder(folder: Path | str, layers: list[int], dtype: torch.dtype = torch.float32, **change: Any) -> Any:
    settings = {"revision": None, "window": 30.0, "batch_seconds": 120.0} | change
    return make(HubertConfig(model=str(folder), layers=layers, **settings), torch.device("cpu"), dtype)


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


@pytest.mark.parametrize("layers", [[0], [3, 1], [2, 0, DEPTH]])
@pytest.mark.parametrize("kind", KINDS)
def test_layers_are_those_of_transformers_clip_by_clip(
    folders: dict[str, Path], kind: str, layers: list[int]
) -> None:
    clips = speech(0.4, 2.0, 1.1, 0.41, 1.1)
    found = encoder(folders[kind], layers).encode(clips)
    for clip, features in zip(clips, found, strict=True):
        states = hidden_states(folders[kind], clip, normalised(kind))
        assert list(features) == [f"hubert_{k}" for k in layers]
        for k in layers:
            assert features[f"hubert_{k}"].dtype == np.float32
            assert_close(features[f"hubert_{k}"], states[k].mean(axis=0))


@pytest.mark.parametrize("kind", ["hubert-base", "hubert-large", "wavlm-large"])
def test_features_do_not_depend_on_the_company(folders: dict[str, Path], kind: str) -> None:
    clips = speech(0.5, 3.0, 0.9, 0.02, 1.7)
    together = encoder(folders[kind], [1, 3]).encode(clips)
    few = encoder(folders[kind], [1, 3], batch_seconds=2.0).encode(clips[::-1])[::-1]
    alone = [encoder(folders[kind], [1, 3]).encode([clip])[0] for clip in clips]
    for one, other, third in zip(together, few, alone, strict=True):
        for name in one:
            assert_close(one[name], other[name])
            assert_close(one[name], third[name])


@pytest.mark.parametrize("kind", ["hubert-base", "hubert-large"])
def test_a_long_clip_is_the_mean_over_its_windows_frames(folders: dict[str, Path], kind: str) -> None:
    long, short = speech(3.3, 0.7)
    found = encoder(folders[kind], [2], window=1.0).encode([short, long])
    whole = (long - long.mean()) / np.sqrt(long.var() + 1e-7) if normalised(kind) else long
    parts = [whole[start : start + RATE] for start in range(0, len(whole), RATE)]
    frames = np.concatenate([hidden_states(folders[kind], part, False)[2] for part in parts])
    assert len(frames) == 3 * 49 + 14
    assert_close(found[1]["hubert_2"], frames.mean(axis=0))
    assert_close(found[0]["hubert_2"], hidden_states(folders[kind], short, normalised(kind))[2].mean(axis=0))


def test_a_last_window_too_short_for_a_frame_joins_the_one_before(folders: dict[str, Path]) -> None:
    (clip,) = speech(2.1)
    made = encoder(folders["hubert-base"], [1], window=1.0)
    for extra, last in ((0, [RATE]), (1, [RATE + 1]), (399, [RATE + 399]), (400, [RATE, 400])):
        assert [len(window) for window in made._windows(clip[: 2 * RATE + extra])] == [RATE, *last]
    joined = clip[: 2 * RATE + 200]
    states = [hidden_states(folders["hubert-base"], part, False)[1] for part in np.split(joined, [RATE])]
    assert_close(made.encode([joined])[0]["hubert_1"], np.concatenate(states).mean(axis=0))


@pytest.mark.parametrize("kind", KINDS)
def test_clips_shorter_than_a_frame_are_padded(folders: dict[str, Path], kind: str) -> None:
    clips = [*speech(0.0, 0.01, 399 / RATE, 400 / RATE, 1.0), np.zeros(50, np.float32)]
    found = encoder(folders[kind], [0, 3]).encode(clips)
    for clip, features in zip(clips, found, strict=True):
        if normalised(kind):
            clip = (clip - clip.mean()) / np.sqrt(clip.var() + 1e-7)
        padded = np.pad(clip, (0, max(0, 400 - len(clip))))
        states = hidden_states(folders[kind], padded, False)
        assert_close(features["hubert_3"], states[3].mean(axis=0))
        assert_close(features["hubert_0"], states[0].mean(axis=0))


def test_no_clips_have_no_features(folders: dict[str, Path]) -> None:
    assert encoder(folders["hubert-base"], [1]).encode([]) == []


def test_batches_are_of_similar_lengths_and_within_the_limit() -> None:
    windows = [Window(i, np.zeros(n, np.float32)) for i, n in enumerate([5, 40, 6, 7, 100, 39])]
    made = [[len(window.samples) for window in batch] for batch in batches(windows, 80)]
    assert made == [[100], [40, 39], [7, 6, 5]]
    assert [len(batch) for batch in batches(windows, 0)] == [1] * 6
    assert list(batches([], 10)) == []


def test_one_pass_through_the_layers_needed_and_nothing_stays(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = encoder(folders["hubert-large"], [1, 2, 3])
    layers = made._model.encoder.layers
    assert len(layers) == 3
    passes: list[int] = []
    forward = type(layers[0]).forward

    def counted(self: Any, hidden: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        assert not hidden.requires_grad
        passes.append(len(hidden))
        return forward(self, hidden, *args, **kwargs)

    monkeypatch.setattr(type(layers[0]), "forward", counted)
    made.encode(speech(0.5, 0.6, 1.0))
    assert passes == [3, 3, 3]
    monkeypatch.setattr("mer_lightning.extract.hubert.NO_BATCHES", ("cpu",))
    passes.clear()
    encoder(folders["hubert-large"], [1]).encode(speech(0.5, 0.6, 1.0))
    assert passes == [1, 1, 1]
    assert not made._model.training
    assert not any(layer._forward_pre_hooks for layer in layers)


@pytest.mark.parametrize(
    ("file", "content", "expected"),
    [
        ("preprocessor_config.json", {"do_normalize": False}, False),
        ("preprocessor_config.json", {"do_normalize": True}, True),
        ("preprocessor_config.json", {}, True),  # the default of the feature extractor
        ("processor_config.json", {"feature_extractor": {"do_normalize": False}}, False),
    ],
)
@pytest.mark.parametrize("kind", ["hubert-base", "hubert-large"])
def test_the_folder_says_whether_clips_are_normalised(
    tmp_path: Path, kind: str, file: str, content: dict[str, Any], expected: bool
) -> None:
    (save(tmp_path, kind) / file).write_text(json.dumps(content))
    made = encoder(tmp_path, [2])
    (clip,) = speech(0.5)
    assert made.provenance["hubert_2"]["normalised"] is expected
    assert_close(made.encode([clip])[0]["hubert_2"], hidden_states(tmp_path, clip, expected)[2].mean(axis=0))


def test_provenance_is_of_the_numbers_alone(folders: dict[str, Path], tmp_path: Path) -> None:
    one = encoder(folders["wavlm-base"], [1, 3])
    other = encoder(folders["wavlm-base"], [3, 0, 4], batch_seconds=7.0, revision="ignored")
    assert one.provenance["hubert_3"] == other.provenance["hubert_3"]
    assert json.loads(json.dumps(one.provenance)) == one.provenance
    assert one.provenance["hubert_1"] == {
        "encoder": "hubert",
        "model": "wavlm-base",
        "revision": None,
        "weights": one.provenance["hubert_1"]["weights"],
        "layer": 1,
        "window": 30.0,
        "normalised": False,
    }
    model = transformers.AutoModel.from_pretrained(folders["wavlm-base"])
    model.encoder.layers[2].layer_norm.bias.data[0] += 1e-3
    model.save_pretrained(tmp_path / "wavlm-base")
    changed = encoder(tmp_path / "wavlm-base", [3, 2]).provenance
    assert changed["hubert_3"] != one.provenance["hubert_3"]
    assert changed["hubert_2"] == encoder(folders["wavlm-base"], [2]).provenance["hubert_2"]


def test_half_precision_gives_float32_close_by(folders: dict[str, Path]) -> None:
    clips = speech(0.5, 1.5)
    for kind in ("hubert-base", "hubert-large", "wavlm-large"):
        exact = encoder(folders[kind], [1]).encode(clips)
        halves = encoder(folders[kind], [1], torch.bfloat16).encode(clips)
        for one, other in zip(exact, halves, strict=True):
            assert other["hubert_1"].dtype == np.float32
            assert np.corrcoef(one["hubert_1"], other["hubert_1"])[0, 1] > 0.995


def test_weights_of_a_recogniser_and_of_older_torch_are_read(
    folders: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (clip,) = speech(0.6)
    recogniser = save(tmp_path / "ctc", "hubert-large", "ForCTC")
    capfd.readouterr()
    found = encoder(recogniser, [2]).encode([clip])[0]["hubert_2"]
    assert capfd.readouterr() == ("", "")
    assert_close(found, hidden_states(recogniser, clip, True)[2].mean(axis=0))

    old = tmp_path / "old"
    old.mkdir()
    (old / "config.json").write_text((folders["hubert-base"] / "config.json").read_text())
    states = transformers.AutoModel.from_pretrained(folders["hubert-base"]).state_dict()
    names = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    for new, name in names.items():
        states = {key.replace(new, name): value for key, value in states.items()}
    torch.save(states, old / "pytorch_model.bin")
    assert_close(
        encoder(old, [2]).encode([clip])[0]["hubert_2"],
        encoder(folders["hubert-base"], [2]).encode([clip])[0]["hubert_2"],
    )


class Bomb:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def test_a_pickle_that_runs_code_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text((folders["hubert-base"] / "config.json").read_text())
    torch.save({"weights": Bomb(tmp_path / "exploded")}, tmp_path / "pytorch_model.bin")
    refused(tmp_path, [1], "could run code")
    assert not (tmp_path / "exploded").exists()


def refused(model: Path | str, layers: list[int], match: str) -> None:
    with pytest.raises(UserError, match=match) as caught:
        encoder(model, layers)
    assert "\n" not in str(caught.value)


def test_models_that_will_not_do_are_named(folders: dict[str, Path], tmp_path: Path) -> None:
    refused(folders["hubert-base"], [2, DEPTH + 1], r"layers=\[2, 5\]: hubert-base has layers 0 to 4")
    refused(tmp_path, [1], "config.json.*give extract.hubert.model a HuBERT")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    refused(tmp_path, [1], "type bert: give extract.hubert.model a HuBERT")
    (tmp_path / "config.json").write_text("{")
    refused(tmp_path, [1], "give extract.hubert.model a HuBERT")
    config = json.loads((folders["hubert-base"] / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config))
    refused(tmp_path, [1], "pytorch_model.bin.*give extract.hubert.model a HuBERT")
    weights = (folders["hubert-base"] / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(weights[:-5000])
    refused(tmp_path, [1], "cannot be read")
    (tmp_path / "model.safetensors").write_bytes(weights)
    (tmp_path / "config.json").write_text(json.dumps(config | {"num_hidden_layers": DEPTH + 2}))
    refused(tmp_path, [DEPTH + 1], r"do not fit its config.json, at encoder\.layers\.4")
    (tmp_path / "config.json").write_text(json.dumps(config | {"hidden_size": 48}))
    refused(tmp_path, [1], "do not fit its config.json, at .*; give extract.hubert.model a HuBERT")
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "preprocessor_config.json").write_text("[]")
    refused(tmp_path, [1], "preprocessor_config.json: cannot be read")


def test_a_name_that_cannot_be_downloaded_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    refused("nobody/nothing-of-that-name", [1], "cannot be downloaded .*or download it elsewhere")
    refused("not a name", [1], "cannot be downloaded .*check the name")
    refused(tmp_path / "nowhere", [1], "there is no such folder")
    refused("./nowhere", [1], "there is no such folder")


def test_of_the_hub_only_what_is_needed_is_fetched(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str | None, list[str]]] = []

    def download(model: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append((model, revision, allow_patterns))
        return str(folders["hubert-base"])

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    made: HubertEncoder = encoder("someone/hubert", [1], revision="abc")
    assert asked == [("someone/hubert", "abc", ["*.json", "model*.safetensors"])]
    assert (
        made.provenance["hubert_1"] | {"model": "someone/hubert", "revision": "abc"}
        == (made.provenance["hubert_1"])
    )
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **k: asked.append(k) or str(tmp_path))
    refused("someone/hubert", [1], "config.json")
    assert asked[-1]["allow_patterns"] == ["*.json", "pytorch_model*.bin"]  # type: ignore[call-overload]
