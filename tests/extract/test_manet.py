"""MA-Net: published names, golden values, and features that do not depend on how clips are batched."""

import json
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

from mer_lightning.config.extract import ManetConfig
from mer_lightning.errors import UserError
from mer_lightning.extract.encoder import Encoder
from mer_lightning.extract.manet import MANet, empty, make, read_weights
from tests.conftest import SHARED

REFERENCE = SHARED.parent / "reference"
needs_reference = pytest.mark.skipif(not REFERENCE.is_dir(), reason=f"no {REFERENCE}")
Clip = NDArray[np.uint8]


def value(name: str, shape: torch.Size) -> Tensor:
    """As the reference fills it."""
    r = np.random.RandomState(zlib.crc32(name.encode()))
    kind = name.rpartition(".")[2]
    if kind == "num_batches_tracked":
        return torch.tensor(0)
    if kind == "running_var":
        values = r.uniform(0.5, 1.5, shape)
    elif kind in ("running_mean", "bias"):
        values = 0.05 * r.standard_normal(shape)
    elif len(shape) == 1:
        values = r.uniform(0.8, 1.2, shape)
    else:
        values = r.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
    return torch.from_numpy(values.astype(np.float32))


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    return {name: value(name, tensor.shape) for name, tensor in empty().state_dict().items()}


@pytest.fixture(scope="module")
def network(weights: dict[str, Tensor]) -> MANet:
    network = empty()
    network.load_state_dict(weights, assign=True)
    return network.eval()


@pytest.fixture(scope="module")
def file(weights: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("manet") / "weights.safetensors"
    save_file({f"module.{name}": tensor for name, tensor in weights.items()}, path)
    yield path
    path.unlink()  # 200 MB


@pytest.fixture(scope="module")
def encoder(file: Path) -> Encoder:
    return encoder_of(file)


def encoder_of(file: Path, dtype: torch.dtype = torch.float32, batch: int = 2) -> Encoder:
    return make("manet", ManetConfig(weights=str(file), batch=batch), torch.device("cpu"), dtype)


def faces(*counts: int) -> list[Clip]:
    """Smaller than they come, which the network does not mind."""
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (n, 64, 64, 3), dtype=np.uint8) for n in counts]


@needs_reference
def test_names_and_shapes_are_the_published_ones() -> None:
    published = json.loads((REFERENCE / "manet_state_dict.json").read_text())
    own = [{"name": name, "shape": list(tensor.shape)} for name, tensor in empty().state_dict().items()]
    assert sorted(own, key=lambda entry: entry["name"]) == sorted(published, key=lambda entry: entry["name"])


@needs_reference
def test_the_golden_values(network: MANet) -> None:
    golden = np.load(REFERENCE / "manet_golden.npz")
    pixels = np.random.RandomState(0).uniform(0, 1, (2, 3, 224, 224)).astype(np.float32)
    with torch.inference_mode():
        embedding = network(torch.from_numpy(pixels))
        logits = network.fc_1(embedding[:, :512]), network.fc_2(embedding[:, 512:])
    np.testing.assert_allclose(embedding, golden["embedding"], rtol=1e-3)
    np.testing.assert_allclose(logits[0], golden["logits_local"], rtol=1e-3)
    np.testing.assert_allclose(logits[1], golden["logits_multiscale"], rtol=1e-3)


def relative(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """The largest difference, in shares of the largest value."""
    return float(np.abs(one - other).max() / np.abs(other).max())


def test_a_clip_is_the_mean_of_its_frames_whatever_its_companions(network: MANet, encoder: Encoder) -> None:
    clips = faces(1, 2)  # in batches of 2: the second clip is in both
    for clip, features in zip(clips, encoder.encode(clips), strict=True):
        frames = [torch.from_numpy(frame / np.float32(255)).permute(2, 0, 1)[None] for frame in clip]
        with torch.inference_mode():
            mean = torch.cat([network(frame) for frame in frames]).mean(dim=0).numpy()
        assert list(features) == ["manet"]
        assert features["manet"].shape == (1024,)
        assert features["manet"].dtype == np.float32
        assert relative(features["manet"], mean) < 1e-5
        assert relative(encoder.encode([clip])[0]["manet"], mean) < 1e-5
    assert encoder.encode([]) == []


def test_half_precision_gives_nearly_the_same_in_32_bits(file: Path, encoder: Encoder) -> None:
    clips = faces(2)
    (full,), (half,) = encoder.encode(clips), encoder_of(file, torch.bfloat16).encode(clips)
    assert half["manet"].dtype == np.float32
    assert 0 < relative(half["manet"], full["manet"]) < 0.02


def test_provenance_names_the_weights_and_not_the_batch(file: Path, encoder: Encoder, tmp_path: Path) -> None:
    assert encoder.source == "faces"
    assert encoder.provenance == encoder_of(file, batch=64).provenance
    assert encoder.provenance == json.loads(json.dumps(encoder.provenance))
    described = encoder.provenance["manet"]
    digest = described.pop("weights")
    assert described == {"encoder": "manet", "input": [224, 224], "pooling": "mean over frames"}
    assert len(digest) == 16
    assert encoder_of(small_file(tmp_path, {})).provenance["manet"]["weights"] != digest


def small_file(folder: Path, changes: dict[str, Tensor | None]) -> Path:
    """Weights of the right names and shapes, all zero and so without a size; None: left out."""
    zeros = {dtype: torch.zeros((), dtype=dtype) for dtype in (torch.float32, torch.int64)}
    tensors = {
        f"module.{name}": zeros[tensor.dtype].expand(tensor.shape)
        for name, tensor in empty().state_dict().items()
    }
    kept = {name: tensor for name, tensor in (tensors | changes).items() if tensor is not None}
    path = folder / "weights.pth"
    torch.save({"state_dict": kept, "epoch": 7}, path)
    return path


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"module.bn1.bias": None, "module.layer1.0.bn1.bias": None}, "bn1.bias is missing"),
        ({"module.bn1.num_batches_tracked": None}, "bn1.num_batches_tracked is missing"),
        ({"module.fc_3.bias": torch.zeros(7)}, "fc_3.bias is not one of its tensors"),
        ({"module.fc_1.weight": torch.zeros(8, 512)}, r"fc_1.weight is \[8, 512\], expected \[7, 512\]"),
    ],
)
def test_other_weights_are_refused(changes: dict[str, Tensor | None], problem: str, tmp_path: Path) -> None:
    path = small_file(tmp_path, changes)
    with pytest.raises(UserError, match=rf"weights\.pth: .*: {problem}; give extract\.manet\.weights=FILE"):
        read_weights(path)


def test_published_names_are_read(tmp_path: Path) -> None:
    read, own = read_weights(small_file(tmp_path, {})), empty().state_dict()
    assert {n: (t.shape, t.dtype) for n, t in read.items()} == {n: (t.shape, t.dtype) for n, t in own.items()}


@pytest.mark.parametrize("weights", [None, "/nowhere/manet.pth"])
def test_without_weights_it_is_said_what_to_do(weights: str | None) -> None:
    settings = ManetConfig(weights=weights, batch=1)
    with pytest.raises(UserError, match=r"give extract\.manet\.weights=FILE.* leave manet out of extract\.f"):
        make("manet", settings, torch.device("cpu"), torch.float32)
