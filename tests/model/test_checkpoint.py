"""Networks as files: back as they were, or refused."""

import json
from pathlib import Path

import pytest
import torch

from mer_lightning.data.standardise import Standardisation
from mer_lightning.errors import UserError
from mer_lightning.files.checksums import write_checksums
from mer_lightning.model.base import Architecture
from mer_lightning.model.build import build
from mer_lightning.model.checkpoint import Trained, read_network, write_network

SHAPES = [
    Architecture(
        {"a": 5},
        {"x": 4},
        3,
        dimension=8,
        fusion="linear",
        options={"weights": [1.0]},
        widths={"a/gathered": 3},
    ),
    Architecture({"a": 5}, {"x": 4}, 3, dimension=8, inputs=True, widths={"a/input/x": 2, "a/input/a": 3}),
    Architecture({"a": 5}, {"x": 4}, 3, kind="transformer", dimension=8, options={"layers": 1, "heads": 2}),
]


def written(architecture: Architecture, stem: Path) -> Trained:
    ones = {name: torch.rand(d) + 1 for name, d in (architecture.levels | architecture.shared).items()}
    trained = Trained(build(architecture).eval(), Standardisation(ones, {k: 2 * v for k, v in ones.items()}))
    write_network(stem, trained)
    write_checksums(stem.parent)
    return trained


@pytest.mark.parametrize("architecture", SHAPES)
def test_a_network_comes_back_as_it_was(architecture: Architecture, tmp_path: Path) -> None:
    trained = written(architecture, tmp_path / "network")
    back = read_network(tmp_path / "network")
    x = {name: torch.randn(7, d) for name, d in (architecture.levels | architecture.shared).items()}
    for one, other in zip(
        trained.network(trained.standardisation(x)), back.network(back.standardisation(x)), strict=True
    ):
        assert one.equal(other)
    assert back.network.architecture == trained.network.architecture


def test_a_network_trained_in_double_precision_comes_back_in_single(tmp_path: Path) -> None:
    trained = written(SHAPES[0], tmp_path / "single")
    write_network(tmp_path / "double", trained._replace(network=trained.network.double()))
    write_checksums(tmp_path)
    x = {"a": torch.randn(7, 5), "x": torch.randn(7, 4)}
    one, other = (read_network(tmp_path / name).network(x) for name in ("single", "double"))
    assert other.log_posterior.equal(one.log_posterior)


def test_damage_is_noticed_and_named(tmp_path: Path) -> None:
    stem = tmp_path / "network"
    written(SHAPES[0], stem)
    weights, description = stem.with_suffix(".safetensors"), stem.with_suffix(".json")
    for path in (weights, description):
        whole = path.read_bytes()
        for damage in (whole[:-7], whole[:-2] + bytes([whole[-2] ^ 1]) + whole[-1:], b""):
            path.write_bytes(damage)
            with pytest.raises(UserError, match=rf"network\{path.suffix}: .*SHA256SUMS"):
                read_network(stem)
        path.unlink()
        with pytest.raises(UserError, match=rf"network\{path.suffix}: cannot be read"):
            read_network(stem)
        path.write_bytes(whole)
    (tmp_path / "SHA256SUMS").unlink()
    with pytest.raises(UserError, match="SHA256SUMS"):
        read_network(stem)


@pytest.mark.parametrize(
    "change",
    [
        {"levels": {}},
        {"levels": {"a": "5"}},
        {"kind": "os.system"},
        {"dropout": True},
        {"dropout": float("nan")},
        {"more": 1},
    ],
)
def test_a_description_that_lies_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    written(SHAPES[0], tmp_path / "network")
    description = tmp_path / "network.json"
    description.write_text(json.dumps(json.loads(description.read_text()) | change))
    write_checksums(tmp_path)
    with pytest.raises(UserError, match=r"network\.(json|safetensors): cannot be read"):
        read_network(tmp_path / "network")


def test_a_network_that_reads_columns_that_are_not_there_is_refused(tmp_path: Path) -> None:
    stem = tmp_path / "network"
    architecture = next(a for a in SHAPES if a.inputs)
    trained = written(architecture, stem)
    for odd in (-1, 4):
        trained.network.get_buffer("branches.0.gathering.columns.1.kept")[0] = odd
        write_network(stem, trained)
        write_checksums(tmp_path)
        with pytest.raises(UserError, match="columns that are not there"):
            read_network(stem)
