"""Image and video models: what transformers makes of each frame; models that will not do, refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from numpy.typing import NDArray

from mer_lightning.config.extract import VisionConfig
from mer_lightning.errors import UserError
from mer_lightning.extract.encoder import Encoder
from mer_lightning.extract.vision import make

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
CPU = torch.device("cpu")
BLOCKS = {"hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}
SEEING = BLOCKS | {"image_size": 32, "patch_size": 8}
CROPPED = {"size": {"shortest_edge": 36}, "crop_size": {"height": 32, "width": 32}}
SQUARE = {"size": {"height": 32, "width": 32}}
Clip = NDArray[np.uint8]


def two_towers(family: str) -> Any:
    config: Any = getattr(transformers, f"{family}Config")
    reading = BLOCKS | {"vocab_size": 9, "eos_token_id": 2, "bos_token_id": 1, "pad_token_id": 1}
    return config(text_config=reading, vision_config=SEEING, projection_dim=10)


# family -> configuration, image processor
FAMILIES: dict[str, tuple[Callable[[], Any], Any]] = {
    "CLIP": (lambda: two_towers("CLIP"), transformers.CLIPImageProcessorPil(**CROPPED)),
    "Siglip": (lambda: two_towers("Siglip"), transformers.SiglipImageProcessorPil(**SQUARE)),
    "Dinov2": (lambda: transformers.Dinov2Config(**SEEING), transformers.BitImageProcessorPil(**CROPPED)),
    "ViT": (lambda: transformers.ViTConfig(**SEEING), transformers.ViTImageProcessorPil(**SQUARE)),
    "VideoMAE": (
        lambda: transformers.VideoMAEConfig(num_frames=4, tubelet_size=2, **SEEING),
        transformers.VideoMAEImageProcessorPil(**CROPPED),
    ),
    "ResNet": (
        lambda: transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16, 24], depths=[1, 2, 1]),
        transformers.ConvNextImageProcessorPil(size={"shortest_edge": 64}, image_mean=MEAN, image_std=STD),
    ),
}


def save(folder: Path, family: str = "ResNet") -> Path:
    """A small model of random weights, with running statistics that matter, and its image processor."""
    torch.manual_seed(0)
    config, processor = FAMILIES[family]
    model: Any = getattr(transformers, f"{family}Model")(config())
    for values in model.parameters():
        if values.dim() > 1 and family != "ResNet":
            torch.nn.init.normal_(values, std=0.2)
    for name, values in model.named_buffers():
        if name.endswith("running_mean"):
            values.uniform_(-0.5, 0.2)
        if name.endswith("running_var"):
            values.uniform_(0.1, 1)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("seeing")
    return {family: save(root / family, family) for family in FAMILIES}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save(tmp_path / "tiny")


def encoder(
    model: Path, pooling: str = "pooled", dtype: torch.dtype = torch.float32, **change: Any
) -> Encoder:
    return make("look", VisionConfig(model=str(model), pooling=pooling, **change), CPU, dtype)


def faces(*counts: int) -> list[Clip]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (n, 224, 224, 3), dtype=np.uint8) for n in counts]


def pixels(folder: Path, frames: Clip) -> torch.Tensor:
    """As transformers prepares them, but for the edge that it would cut off."""
    processor: Any = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
    whole: dict[str, Any] = {"crop_pct": 1.0} if hasattr(processor, "crop_pct") else {"do_center_crop": False}
    if "do_center_crop" in whole:
        whole["size"] = {"height": 32, "width": 32}
    given: torch.Tensor = processor(list(frames), return_tensors="pt", **whole).pixel_values
    return given


def by_transformers(folder: Path, clip: Clip, pooling: str, layer: int | None) -> NDArray[np.float32]:
    """Each frame, or a video's at once, by the whole model of transformers."""
    model: Any = transformers.AutoModel.from_pretrained(folder).eval()
    video = "VideoMAE" in type(model).__name__
    if video:
        clip = clip[[round(i * (len(clip) - 1) / 3) for i in range(4)]]
    given = pixels(folder, clip)
    with torch.inference_mode():
        if pooling == "projected":
            return model.get_image_features(given).pooler_output.mean(dim=0).numpy()
        out = getattr(model, "vision_model", model)(pixel_values=given, output_hidden_states=True)
    state = out.last_hidden_state if layer is None else out.hidden_states[layer]
    if pooling == "pooled":
        made = out.pooler_output.flatten(1)
    elif pooling == "cls":
        made = state[:, 0]
    else:
        made = state.flatten(2).mean(dim=2) if state.dim() == 4 else state.mean(dim=1)
    return made.mean(dim=0).numpy()


@pytest.mark.parametrize(
    ("family", "pooling", "layers"),
    [
        ("CLIP", "projected", []), ("CLIP", "cls", [1, 3]), ("Siglip", "pooled", []), ("Siglip", "mean", [2]),
        ("Dinov2", "pooled", []), ("Dinov2", "cls", [3, 0]), ("ViT", "cls", []), ("ViT", "pooled", []),
        ("ViT", "mean", [1]), ("VideoMAE", "mean", []), ("VideoMAE", "mean", [1, 2]),
        ("ResNet", "pooled", []), ("ResNet", "mean", []),
    ],
)  # fmt: skip
def test_features_are_those_of_transformers_whatever_the_companions(
    folders: dict[str, Path], family: str, pooling: str, layers: list[int]
) -> None:
    clips = faces(1, 5, 2)
    expected = {
        f"look_{k}" if layers else "look": [by_transformers(folders[family], c, pooling, k) for c in clips]
        for k in layers or [None]
    }
    assert all(np.std(mean) > 1e-3 for means in expected.values() for mean in means)
    for batch, together in ((1, slice(None)), (4, slice(None)), (64, slice(1, 2))):
        found = encoder(folders[family], pooling, layers=layers, batch=batch).encode(clips[together])
        for name, means in expected.items():
            for features, mean in zip(found, means[together], strict=True):
                assert list(features) == list(expected)
                assert features[name].dtype == np.float32
                np.testing.assert_allclose(features[name], mean, rtol=1e-4, atol=1e-4)
    assert encoder(folders[family], pooling, layers=layers).encode([]) == []


def test_colours_are_not_mixed_up_and_frames_count(folders: dict[str, Path]) -> None:
    clip = np.zeros((4, 224, 224, 3), dtype=np.uint8)
    clip[:2, ..., 0] = 255
    for family, order in (("CLIP", False), ("VideoMAE", True)):
        made = encoder(folders[family], "mean")
        one, swapped, backwards = (made.encode([c])[0]["look"] for c in (clip, clip[..., ::-1], clip[::-1]))
        assert not np.allclose(one, swapped, atol=1e-3)
        assert np.allclose(one, backwards, atol=1e-5) != order  # a video model sees what comes first


def test_nothing_is_cut_off(folders: dict[str, Path]) -> None:
    """Pictures are faces: their edges count, though transformers would cut them off."""
    (clip,) = faces(1)
    framed = clip.copy()
    framed[:, :8], framed[:, -8:] = 0, 0
    for family, size in (("CLIP", 32), ("ResNet", 64)):
        made = encoder(folders[family])
        assert made.provenance["look"]["input"] == [size, size]
        assert not np.allclose(made.encode([clip])[0]["look"], made.encode([framed])[0]["look"], atol=1e-3)


def test_half_precision_gives_nearly_the_same_in_32_bits(model: Path) -> None:
    clips = faces(2)
    (full,), (half,) = encoder(model).encode(clips), encoder(model, dtype=torch.bfloat16).encode(clips)
    assert half["look"].dtype == np.float32
    assert np.corrcoef(half["look"], full["look"])[0, 1] > 0.995


def test_provenance_names_the_model_and_not_the_batch(model: Path, tmp_path: Path) -> None:
    made = encoder(model, batch=1)
    assert made.source == "faces"
    assert encoder(model, of="frames").source == "frames"
    assert made.provenance == encoder(model).provenance == json.loads(json.dumps(made.provenance))
    described = made.provenance["look"]
    digest = described.pop("weights")
    assert described == {
        "encoder": "look",
        "model": "tiny",
        "revision": None,
        "of": "faces",
        "pooling": "pooled",
        "input": [64, 64],
        "mean": MEAN,
        "std": STD,
    }
    classifier = tmp_path / "classifier"
    transformers.ResNetForImageClassification.from_pretrained(model).save_pretrained(classifier)
    (classifier / "preprocessor_config.json").write_text((model / "preprocessor_config.json").read_text())
    assert encoder(classifier).provenance["look"]["weights"] == digest  # the head is none of its weights


def test_the_weights_of_what_reads_do_not_count(folders: dict[str, Path], tmp_path: Path) -> None:
    model: Any = transformers.AutoModel.from_pretrained(folders["CLIP"])
    model.text_projection.weight.data[0] += 1
    model.save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(
        (folders["CLIP"] / "preprocessor_config.json").read_text()
    )
    one, other = (encoder(f, "projected").provenance["look"]["weights"] for f in (folders["CLIP"], tmp_path))
    assert one == other


def test_only_a_pickle_is_read_without_its_powers(model: Path, tmp_path: Path) -> None:
    expected = encoder(model).provenance
    weights = transformers.ResNetModel.from_pretrained(model).state_dict()
    (model / "model.safetensors").unlink()
    torch.save(weights, model / "pytorch_model.bin")
    assert encoder(model).provenance == expected
    torch.save(weights | {"planted": Planted(tmp_path / "victim")}, model / "pytorch_model.bin")
    refused(model, r"not loaded as weights: it refers to .*eval, .*; give extract\.look")
    assert not (tmp_path / "victim").exists()


class Planted:
    """Makes a file when it is unpickled."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return eval, (f"open({str(self.victim)!r}, 'w')",)


def rewrite(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def refused(model: Path | str, match: str, pooling: str = "pooled", **change: Any) -> None:
    with pytest.raises(UserError, match=match) as refusal:
        encoder(Path(model), pooling, **change)
    assert "\n" not in str(refusal.value)


def test_weights_that_do_not_fit_are_refused(model: Path) -> None:
    rewrite(model / "config.json", depths=[1, 3, 1])
    refused(model, r"tiny: its weights do not fit its config.json, at encoder\.stages\.1\.layers\.2")
    rewrite(model / "config.json", depths=[1, 2, 1], hidden_sizes=[8, 16, 32])
    refused(model, r"tiny: .*; give extract\.look\.model")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", "{"),
        ("config.json", '{"model_type": "unheard_of", "auto_map": {"AutoConfig": "there/code--a.B"}}'),
        ("config.json", None),
        ("model.safetensors", "weights"),
        ("model.safetensors", None),
        ("preprocessor_config.json", "{"),
        ("preprocessor_config.json", '{"size": {"longest_edge": 224}}'),
        ("preprocessor_config.json", '{"image_mean": [0.5]}'),
        ("preprocessor_config.json", "[]"),
        ("preprocessor_config.json", None),
    ],
)
def test_a_damaged_or_other_model_is_refused_in_a_line(name: str, content: str | None, model: Path) -> None:
    if content is None:
        (model / name).unlink()
    else:
        (model / name).write_text(content)
    refused(model, r"(tiny|extract\.look).*(give extract|restore)")


def test_what_a_model_cannot_give_is_said(folders: dict[str, Path], tmp_path: Path) -> None:
    for family, pooling in (
        ("ViT", "projected"),
        ("VideoMAE", "cls"),
        ("VideoMAE", "pooled"),
        ("ResNet", "cls"),
    ):
        refused(folders[family], rf"extract\.look\.pooling={pooling}: {family} does not give that", pooling)
    refused(folders["ViT"], r"layers=\[1, 4\]: ViT has layers 0 to 3", "cls", layers=[1, 4])
    without = tmp_path / "plain"
    transformers.ViTModel.from_pretrained(folders["ViT"], add_pooling_layer=False).save_pretrained(without)
    refused(without, "do not fit its config.json, at pooler")
    transformers.BertModel(transformers.BertConfig(**BLOCKS, vocab_size=9)).save_pretrained(tmp_path / "bert")
    refused(tmp_path / "bert", "bert: a model of type bert; give extract.look.model an image or video model")


@pytest.mark.parametrize("name", ["/nowhere/resnet-50", "owner/no-such-model"])
def test_a_model_that_is_not_to_be_had_is_said_in_a_line(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    refused(name, f"extract.look.model={name}: .*give")
