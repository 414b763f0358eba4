"""Models on disk: what they say of themselves, and what they decide where features are missing."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mer_lightning import load
from mer_lightning.data.standardise import Standardisation
from mer_lightning.errors import UserError
from mer_lightning.files.checksums import write_checksums
from mer_lightning.files.strict_json import as_json
from mer_lightning.model.base import Architecture
from mer_lightning.model.build import build
from mer_lightning.model.checkpoint import Trained, write_network
from mer_lightning.results.description import (
    FILE,
    Description,
    Member,
    check_extractors,
    needed_features,
    read_description,
)
from mer_lightning.results.predictor import Predictor

FIRST = Architecture({"low": 6}, {"face": 4}, classes=3, dimension=8)
SECOND = Architecture({"low": 6, "high": 5}, {}, classes=3, dimension=8)
MADE = {"low": {"encoder": "hubert", "layer": 18, "weights": "0a1b", "revision": None}}


def write_model(folder: Path, *architectures: Architecture) -> Description:
    """A model of untrained networks, one per fold."""
    torch.manual_seed(0)
    folder.mkdir(exist_ok=True)
    members = tuple(Member(f"fold_{f}", f, 0.5, 0.5) for f in range(len(architectures)))
    for member, a in zip(members, architectures, strict=True):
        sets = a.levels | a.shared
        statistics = Standardisation(
            {name: torch.randn(d) for name, d in sets.items()},
            {name: 1 + torch.rand(d) for name, d in sets.items()},
        )
        write_network(folder / member.file, Trained(build(a).eval(), statistics))
    features = needed_features(architectures)
    classes = ("angry", "happy", "sad")
    description = Description(
        classes=classes,
        valence=False,
        ensemble="posterior",
        features=features,
        extractors={name: MADE.get(name, {}) for name in features},
        networks=members,
        origin={},
    )
    (folder / FILE).write_text(as_json(description))
    write_checksums(folder)
    return description


@pytest.fixture
def model(tmp_path: Path) -> Path:
    write_model(tmp_path / "model", FIRST, SECOND)
    return tmp_path / "model"


def features_for(predictor: Predictor, rows: int = 9) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {name: rng.normal(size=(rows, d)).astype(np.float32) for name, d in predictor.features.items()}


def test_a_description_reads_back(model: Path) -> None:
    assert read_description(model) == write_model(model, FIRST, SECOND)
    text = json.loads((model / "model.json").read_text())
    assert text["features"] == {"low": 6, "high": 5, "face": 4}
    assert text["extractors"] == MADE | {"high": {}, "face": {}}
    predictor = load(model)
    assert predictor.features == {"low": 6, "high": 5, "face": 4}
    assert predictor.extractors == MADE | {"high": {}, "face": {}}
    assert not predictor.has_valence


def test_one_fold_needs_its_own_features_alone(model: Path) -> None:
    assert load(model, fold=1).extractors == MADE | {"high": {}}
    assert len(load(model, fold=1).members) == 1


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("features",), []),
        (("features", "low"), "6"),
        (("features", "low"), 7),
        (("extractors", "low"), "hubert"),
        (("schema",), 2),
        (("more",), 1),
        (("valence",), "no"),
        (("classes",), None),
        (("classes",), [1, 2, 3]),
        (("ensemble",), 1),
        (("networks",), {}),
        (("networks",), [{"file": "fold_0"}]),
        (("networks", 0, "file"), "../fold_0"),
        (("networks", 0, "fold"), "0"),
        (("networks", 0, "posterior_share"), "much"),
        (("networks", 0, "posterior_share"), -0.5),
        ((), []),
        ((), "[" * 100_000),
        ((), "{"),
    ],
)
def test_a_damaged_description_is_named(model: Path, keys: tuple[Any, ...], value: Any) -> None:
    text = json.loads((model / "model.json").read_text())
    place = text
    for key in keys[:-1]:
        place = place[key]
    if keys:
        place[keys[-1]] = value
    (model / "model.json").write_text(
        json.dumps(text) if keys else value if isinstance(value, str) else json.dumps(value)
    )
    write_checksums(model)
    with pytest.raises(UserError, match=r"model\.json|no fold"):
        load(model)


def test_a_changed_description_is_noticed(model: Path) -> None:
    path = model / "model.json"
    path.write_text(path.read_text().replace("angry", "happy", 1))
    with pytest.raises(UserError, match=r"model\.json: .*SHA256SUMS"):
        load(model)


def test_a_missing_row_counts_as_the_mean_of_the_training_data(model: Path) -> None:
    predictor = load(model, fold=0)
    features = features_for(predictor)
    mean = predictor.members[0].standardisation.mean["face"].numpy()
    absent, average = (features | {"face": features["face"].copy()} for _ in range(2))
    absent["face"][[2, 5]] = np.nan
    average["face"][[2, 5]] = mean
    found, expected, whole = (predictor.predict(f) for f in (absent, average, features))
    for one, other in zip(found[1:], expected[1:], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    rows = np.setdiff1d(np.arange(9), [2, 5])
    np.testing.assert_allclose(found.posterior[rows], whole.posterior[rows], atol=1e-6)
    assert np.abs(found.posterior - whole.posterior)[[2, 5]].max() > 1e-3


def test_an_utterance_may_lack_everything(model: Path) -> None:
    predictor = load(model)
    nothing = {name: np.full((1, d), np.nan) for name, d in predictor.features.items()}
    prediction = predictor.predict(nothing)
    assert np.isfinite(prediction.posterior).all()
    assert np.isfinite(prediction.weights).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_a_row_that_is_nan_in_part_is_no_missing_row(model: Path, value: float) -> None:
    predictor = load(model)
    face = features_for(predictor)["face"].astype(np.float64)
    face[3, 1] = value
    with pytest.raises(UserError, match=r"row 3 .* of 'face'"):
        predictor.predict(features_for(predictor) | {"face": face})


NEEDED = {
    "encoder": "hubert",
    "model": "hub/large",
    "revision": "c0",
    "weights": "0a1b",
    "layer": 18,
    "window": 30,
}


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"revision": None},
        {"window": 30.0},
        {"model": "my copy", "revision": "d1"},  # the weights are the same
        {"made": "on a Tuesday"},
    ],
)
def test_features_made_alike_pass(change: dict[str, Any]) -> None:
    given = {"hubert_18": NEEDED | change, "other": {"layer": 3}}
    check_extractors({"hubert_18": NEEDED}, given, "STORE")
    check_extractors(given, {"hubert_18": NEEDED}, "STORE")


@pytest.mark.parametrize(
    ("needed", "given"), [(NEEDED, {}), ({}, NEEDED), ({}, {}), (NEEDED, {"layer": None})]
)
def test_what_is_unknown_passes(needed: dict[str, Any], given: dict[str, Any]) -> None:
    check_extractors({"hubert_18": needed}, {"hubert_18": given}, "STORE")
    check_extractors({"hubert_18": needed}, {"other": NEEDED | {"layer": 1}}, "STORE")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (NEEDED | {"layer": 12}, "needs hubert_18 with layer 18, STORE has layer 12; give"),
        (NEEDED | {"encoder": "wavlm"}, "with encoder 'hubert', STORE has encoder 'wavlm'"),
        (NEEDED | {"weights": "ffff"}, "with weights '0a1b', STORE has weights 'ffff'"),
        (NEEDED | {"weights": None, "model": "base"}, "with model 'hub/large', STORE has model 'base'"),
        (NEEDED | {"layer": 12, "window": 5}, "with layer 18, window 30, STORE has layer 12, window 5"),
        ({"tool": "OpenSMILE"}, "with encoder 'hubert', .* STORE has tool 'OpenSMILE'"),
    ],
)
def test_features_made_otherwise_are_refused(given: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        check_extractors({"x": {}, "hubert_18": NEEDED}, {"hubert_18": given}, "STORE")


def test_doing_without_a_set_is_as_if_every_row_lacked_it(model: Path) -> None:
    predictor = load(model)
    given = features_for(predictor)
    without = predictor.doing_without(["face"]).doing_without(["high"])
    assert without.features == {"low": 6}
    expected = predictor.predict({n: x if n == "low" else np.full_like(x, np.nan) for n, x in given.items()})
    found = without.predict({"low": given["low"]})
    np.testing.assert_array_equal(found.posterior, expected.posterior)
    np.testing.assert_array_equal(found.weights, expected.weights)
    assert np.abs(found.posterior - predictor.predict(given).posterior).max() > 1e-3


def test_a_model_cannot_do_without_everything_or_what_it_has_not(model: Path) -> None:
    predictor = load(model)
    with pytest.raises(UserError, match="without fase: the model has the feature sets low, high, face"):
        predictor.doing_without(["fase"])
    with pytest.raises(UserError, match="no other feature set to decide by"):
        predictor.doing_without(["low", "high"]).doing_without(["face"])
