"""ResNet: what transformers makes of each frame, however clips are batched; models that are none, refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mer_lightning.config.extract import ResnetConfig
from mer_lightning.errors import UserError
from mer_lightning.extract.encoder import Encoder
from mer_lightning.extract.resnet import make

transformers = pytest.importorskip("transformers")

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CPU = torch.device("cpu")


def save(folder: Path) -> Path:
    """A small model of random weights, with running statistics that matter."""
    torch.manual_seed(0)
    config = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16, 24], depths=[1, 2, 1])
    model = transformers.ResNetModel(config)
    for name, values in model.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            values.uniform_(0.1, 1)
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save(tmp_path / "tiny")


def encoder(model: Path, batch: int = 4, dtype: torch.dtype = torch.float32) -> Encoder:
    return make(ResnetConfig(model=str(model), revision=None, batch=batch), CPU, dtype)


def faces(*counts: int) -> list[NDArray[np.uint8]]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (n, 224, 224, 3), dtype=np.uint8) for n in counts]


def by_transformers(model: Path, clip: NDArray[np.uint8], **settings: Any) -> NDArray[np.float32]:
    """Frame by frame: prepared by transformers' own NumPy functions, pooled, then the mean."""
    from transformers.image_transforms import normalize

    network = transformers.ResNetModel.from_pretrained(model).eval()
    mean, std = settings.get("image_mean", MEAN), settings.get("image_std", STD)
    pooled = []
    for frame in clip:
        image = normalize(frame / np.float32(255), mean, std, input_data_format="channels_last")
        pixels = torch.from_numpy(np.asarray(image, dtype=np.float32)).permute(2, 0, 1)[None]
        with torch.inference_mode():
            pooled.append(network(pixel_values=pixels).pooler_output.flatten())
    return torch.stack(pooled).mean(dim=0).numpy()


@pytest.mark.parametrize(
    "settings",
    [
        None,
        {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4], "size": {"shortest_edge": 224}},
        {"size": 224, "do_normalize": True},
    ],
)
def test_a_clip_is_the_mean_of_its_frames_whatever_its_companions(
    settings: dict[str, Any] | None, model: Path
) -> None:
    if settings is not None:
        (model / "preprocessor_config.json").write_text(json.dumps(settings))
    clips = faces(1, 3, 2)
    expected = [by_transformers(model, clip, **(settings or {})) for clip in clips]
    for batch in (1, 4):
        for together in (slice(None), slice(1, 2)):
            encoded = encoder(model, batch).encode(clips[together])
            for features, mean in zip(encoded, expected[together], strict=True):
                assert list(features) == ["resnet"]
                assert features["resnet"].shape == (24,)
                assert features["resnet"].dtype == np.float32
                np.testing.assert_allclose(features["resnet"], mean, rtol=1e-5, atol=1e-5)


def test_colours_are_not_mixed_up(model: Path) -> None:
    clip = np.zeros((1, 224, 224, 3), dtype=np.uint8)
    clip[..., 0] = 255
    np.testing.assert_allclose(
        encoder(model).encode([clip])[0]["resnet"], by_transformers(model, clip), rtol=1e-5, atol=1e-5
    )
    assert not np.allclose(
        encoder(model).encode([clip[..., ::-1]])[0]["resnet"], by_transformers(model, clip)
    )


@pytest.mark.parametrize(
    ("settings", "size"),
    [
        ({"size": 64}, [64, 64]),
        ({"size": {"shortest_edge": 64}}, [64, 64]),
        ({"size": {"height": 64, "width": 96}}, [64, 96]),
        (
            {"size": {"shortest_edge": 80}, "do_center_crop": True, "crop_size": {"height": 64, "width": 64}},
            [64] * 2,
        ),
        ({"size": 64, "do_center_crop": False, "crop_size": 32}, [64, 64]),
        ({}, [224, 224]),
    ],
)
def test_crops_are_made_the_size_that_the_model_says(
    settings: dict[str, Any], size: list[int], model: Path
) -> None:
    (model / "preprocessor_config.json").write_text(json.dumps(settings))
    made = encoder(model)
    assert made.provenance["resnet"]["input"] == size
    seen: list[torch.Size] = []
    made.network.register_forward_pre_hook(lambda _, given: seen.append(given[0].shape))  # type: ignore[attr-defined]
    made.encode(faces(1))
    assert seen == [torch.Size([1, 3, *size])]


def test_plain_pixels_where_the_model_does_not_normalise(model: Path) -> None:
    (model / "preprocessor_config.json").write_text('{"do_normalize": false, "image_mean": [0.5, 0.5, 0.5]}')
    clip = faces(2)[0]
    plain = by_transformers(model, clip, image_mean=[0.0, 0.0, 0.0], image_std=[1.0, 1.0, 1.0])
    np.testing.assert_allclose(encoder(model).encode([clip])[0]["resnet"], plain, rtol=1e-5, atol=1e-5)


def test_half_precision_gives_nearly_the_same_in_32_bits(model: Path) -> None:
    clips = faces(2)
    (full,), (half,) = encoder(model).encode(clips), encoder(model, dtype=torch.bfloat16).encode(clips)
    assert half["resnet"].dtype == np.float32
    np.testing.assert_allclose(half["resnet"], full["resnet"], atol=0.02 * full["resnet"].max())


def test_provenance_names_the_model_and_not_the_batch(model: Path, tmp_path: Path) -> None:
    made = encoder(model, 1)
    assert made.source == "faces"
    assert made.provenance == encoder(model, 64).provenance == json.loads(json.dumps(made.provenance))
    described = made.provenance["resnet"]
    digest = described.pop("weights")
    assert described == {
        "encoder": "resnet",
        "model": "tiny",
        "revision": None,
        "input": [224, 224],
        "mean": list(MEAN),
        "std": list(STD),
        "pooling": "mean over frames",
    }
    classifier = tmp_path / "classifier"
    transformers.ResNetForImageClassification.from_pretrained(model).save_pretrained(classifier)
    assert encoder(classifier).provenance["resnet"]["weights"] == digest  # the head is none of its weights


def test_only_a_pickle_is_read_without_its_powers(
    model: Path, write_pickle: Callable[[Path, dict[str, Any]], None], tmp_path: Path
) -> None:
    expected = encoder(model).provenance
    weights = transformers.ResNetModel.from_pretrained(model).state_dict()
    (model / "model.safetensors").unlink()
    write_pickle(model, weights)
    assert encoder(model).provenance == expected
    write_pickle(model, weights | {"planted": Planted(tmp_path / "victim")})
    with pytest.raises(
        UserError, match=r"not loaded as weights: it refers to .*eval, .*; give extract\.resnet"
    ):
        encoder(model)
    assert not (tmp_path / "victim").exists()


class Planted:
    """Makes a file when it is unpickled."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return eval, (f"open({str(self.victim)!r}, 'w')",)


@pytest.fixture
def write_pickle() -> Callable[[Path, dict[str, Any]], None]:
    return lambda folder, weights: torch.save(weights, folder / "pytorch_model.bin")


def rewrite(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_weights_that_do_not_fit_are_refused(model: Path) -> None:
    rewrite(model / "config.json", depths=[1, 3, 1])
    with pytest.raises(UserError, match=r"tiny: has no weights for encoder\.stages\.1\.layers\.2"):
        encoder(model)
    rewrite(model / "config.json", depths=[1, 2, 1], hidden_sizes=[8, 16, 32])
    with pytest.raises(UserError, match=r"tiny: .*; give extract\.resnet\.model"):
        encoder(model)


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
    ],
)
def test_a_damaged_or_other_model_is_refused_in_a_line(name: str, content: str | None, model: Path) -> None:
    if content is None:
        (model / name).unlink()
    else:
        (model / name).write_text(content)
    with pytest.raises(UserError, match=r"tiny.*; (give extract|restore it)") as refusal:
        encoder(model)
    assert "\n" not in str(refusal.value)


def test_another_kind_of_model_is_named(model: Path) -> None:
    rewrite(model / "config.json", model_type="vit")
    with pytest.raises(UserError, match="tiny: a model of type vit; give"):
        encoder(model)


@pytest.mark.parametrize("name", ["/nowhere/resnet-50", "owner/no-such-model"])
def test_a_model_that_is_not_to_be_had_is_said_in_a_line(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=f"extract.resnet.model={name}: .*give") as refusal:
        encoder(Path(name))
    assert "\n" not in str(refusal.value)
