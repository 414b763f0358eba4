"""Missing feature sets: modality dropout, and branches that have nothing to go by."""

import pytest
import torch
from torch.testing import assert_close

from mer_lightning.data.datamodule import Batch
from mer_lightning.model.base import Architecture
from mer_lightning.model.build import build
from mer_lightning.model.missing import modality_dropout, present, weights_of_present
from mer_lightning.model.module import EmotionModule

SETS = {"low": 3, "high": 4, "face": 2}


def features(n: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {name: torch.randn(n, d) for name, d in SETS.items()}


def there(found: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.stack([present(x) for x in found.values()], dim=-1)


@pytest.mark.parametrize("p", [0.2, 0.7])
def test_each_set_goes_as_often_as_it_should_and_never_all(p: float) -> None:
    given, n = features(20_000), 20_000
    found = modality_dropout(given, p)
    left = there(found)
    assert left.any(dim=-1).all()
    expected = 1 - p + p**3 / 3  # where all three would go, each is left as often
    tolerance = 5 * (0.25 / n) ** 0.5
    assert_close(left.float().mean(dim=0), torch.full((3,), expected), atol=tolerance, rtol=0)
    assert float((left.sum(dim=-1) == 3).float().mean()) == pytest.approx((1 - p) ** 3, abs=tolerance)
    for i, name in enumerate(SETS):
        assert torch.equal(found[name][left[:, i]], given[name][left[:, i]])


def test_what_was_missing_already_is_not_what_is_left() -> None:
    given = features(1000)
    given["low"].zero_()
    given["high"][:500] = 0
    found = modality_dropout(given, 0.99)
    assert present(found["face"])[:500].all()
    assert there(found)[:, 1:].any(dim=-1).all()


def test_it_acts_in_training_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"levels": {"low": 3, "high": 4}, "shared": {"face": 2}, "classes": ["a", "b"], "dropout": 0.0}
    module = EmotionModule(**settings, dimension=4, modality_dropout=0.5)
    batch = Batch(features(50), torch.randint(2, (50,)), torch.randn(50))
    seen = []
    module.network.register_forward_pre_hook(lambda _, args: seen.append(there(args[0]).float().mean()))
    monkeypatch.setattr(EmotionModule, "_loss", lambda *_: (torch.zeros(()), torch.ones(())))
    for step in (module.training_step, module.validation_step):
        step(batch, 0)
    module.predict_step = lambda b, _: module.network(b.features)  # type: ignore[assignment]
    trained, validated = seen
    assert 0.3 < trained < 0.8
    assert validated == 1


@pytest.mark.parametrize("fusion", ["entropy", "attention", "linear", "mean"])
def test_a_branch_without_input_has_no_weight(fusion: str) -> None:
    options = {"weights": [0.5, 0.3, 0.2]} if fusion == "linear" else {}
    levels = {"low": 3, "high": 4, "top": 5}
    network = build(Architecture(levels, {}, 4, dimension=6, fusion=fusion, options=options)).eval()
    given = {name: torch.randn(9, d) for name, d in levels.items()}
    whole = network(given)
    given["high"][0] = 0
    given["high"][1], given["top"][1] = 0, 0
    for x in given.values():
        x[2] = 0
    found = network(given)
    assert found.weights[0, 1] == 0
    assert_close(found.weights[1], torch.tensor([1.0, 0.0, 0.0]))
    assert_close(found.log_posterior[1], found.branch_log_posteriors[1, 0])
    assert found.weights[2].min() > 0  # nothing to choose between
    assert_close(found.weights.sum(dim=-1), torch.ones(9))
    assert torch.equal(found.weights[3:], whole.weights[3:])  # to the bit


def test_a_shared_set_is_something_to_go_by() -> None:
    network = build(Architecture({"low": 3, "high": 4}, {"face": 2}, 4, dimension=6, fusion="mean")).eval()
    given = features(2)
    given["low"].zero_()
    assert_close(network(given).weights, torch.full((2, 2), 0.5))


def test_weights_stay_where_none_is_left() -> None:
    weights = torch.tensor([[1.0, 0.0], [0.4, 0.6]])
    there = torch.tensor([[False, True], [False, False]])
    assert torch.equal(weights_of_present(weights, there), weights)
