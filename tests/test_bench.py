"""The benchmark's machinery: turns, ratios, counting, files; that the compared ways do the same work."""

import json
import math
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from experiments.bench import __main__ as bench
from experiments.bench import pruning, recorded
from experiments.bench.loops import PEER, Loop, PerUtterance, Way, with_torch_dropout
from experiments.bench.measure import (
    Figure,
    Scale,
    Spread,
    growth,
    interleaved,
    ratio,
    spread,
    stopwatch,
    threads,
)
from experiments.bench.scaling import DIRECTIONS, STEPS, draw
from experiments.bench.setting import CPU, epoch_of_ours, fold_data, masked, new_module, settings, thinning
from experiments.bench.training import Products
from mer_lightning.config.registry import NETWORKS
from mer_lightning.errors import UserError
from mer_lightning.model.base import Architecture
from mer_lightning.model.dropout import Dropout
from mer_lightning.pnao import compact

TINY = Scale("small", repeats=1, epochs=2, largest=6_000, complete=False)
SMALL = ("data.size=small", "network.dimension=16")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As the benchmark runs; with more, small products wait for one another on a busy machine."""
    with threads(1):
        yield


def test_sides_take_turns_and_the_warm_up_does_not_count() -> None:
    calls: list[str] = []

    def side(name: str) -> float:
        calls.append(name)
        return float(len(calls))

    times = interleaved({"a": lambda: side("a"), "b": lambda: side("b")}, repeats=2, warmup=1)
    assert calls == ["a", "b"] * 3
    assert times == {"a": [3.0, 5.0], "b": [4.0, 6.0]}


def test_a_ratio_is_taken_turn_by_turn() -> None:
    assert ratio([2.0, 20.0, 6.0], [1.0, 10.0, 2.0]) == Spread(2.0, 2.0, 2.5)  # a slow turn slows both
    assert spread([4.0, 1.0, 2.0, 3.0, 5.0]) == Spread(3.0, 2.0, 4.0)


def test_growth_is_the_exponent_at_the_end() -> None:
    sizes = [1, 2, 4]
    assert growth(sizes, [[9.0, 9.0, 36.0]]).value == pytest.approx(2)
    assert growth(sizes, [[1.0, 2.0, 4.0], [3.0, 6.0, 12.0]]).value == pytest.approx(1)


def test_a_stopwatch_times_every_call_and_leaves_no_trace() -> None:
    class Worker:
        def work(self, x: int) -> int:
            return x + 1

    original, ticks = Worker.work, iter([0.0, 2.0, 10.0, 13.0])
    with stopwatch(Worker, "work", lambda: next(ticks)) as seconds:
        assert [Worker().work(1), Worker().work(5)] == [2, 6]
    assert seconds == [2.0, 3.0]
    assert Worker.work is original


@pytest.mark.parametrize(
    ("value", "higher", "met"), [(1.0, False, True), (1.2, False, False), (1.2, True, True)]
)
def test_a_goal_is_a_bound_from_the_better_side(value: float, higher: bool, met: bool) -> None:
    assert Figure("x", Spread(value, value, value), goal=1.1, higher=higher).met is met
    assert Figure("x", None, goal=1.1, higher=higher, skipped="no compiler").met is None


def test_only_ratios_less_than_half_as_good_are_worse() -> None:
    def figures(factor: float) -> list[Figure]:
        up, down, same = (Spread(x, x, x) for x in (3 / factor, 0.2 * factor, 5.0 * factor))
        return [
            Figure("up", up, higher=True),
            Figure("down", down),
            Figure("absolute", same, unit="s"),
            Figure("growth", same, unit="exponent"),
            Figure("skipped", None, skipped="not here"),
        ]

    kept = json.loads(recorded.as_json(figures(1), False, {}, {}))
    assert recorded.worsened(figures(1.9), kept) == []
    assert [s.partition(":")[0] for s in recorded.worsened(figures(2.1), kept)] == ["up", "down"]
    assert recorded.worsened([Figure("new", Spread(9, 9, 9))], kept) == []


def test_the_counted_products_are_those_that_torch_counts() -> None:
    config = settings(*SMALL)
    data = fold_data(config)
    network = new_module(config, data).network
    batch = data.table(CPU)[torch.from_numpy(data.train_rows[:32])]
    with FlopCounterMode(display=False) as counter:
        decision = network.train()(batch.features)
        (decision.log_posterior.sum() + decision.valence.sum() + decision.branch_valences.sum()).backward()
    counts = counter.get_flop_counts()["Global"]
    products = sum(
        n for operation, n in counts.items() if "mm" in str(operation) and "bmm" not in str(operation)
    )
    assert 2 * Products(network, batch.features).macs == products


def test_the_plain_loop_learns_as_ours_does() -> None:
    config = settings(*SMALL, "trainer.learning_rate=0.01")
    data = fold_data(config)
    ours, plain = new_module(config, data), Loop(config, new_module(config, data), data)
    epoch_of_ours(config, ours, data, 4)
    plain.epoch()
    first = plain.best
    for _ in range(3):
        plain.epoch()
    best = max(epoch["com"] or -math.inf for epoch in ours.history)
    assert plain.best == pytest.approx(best, abs=0.15)
    assert plain.best > first + 0.02
    assert {name: x.shape for name, x in plain.kept.items()} == {
        name: x.shape for name, x in ours.network.state_dict().items()
    }


def test_the_baselines_way_trains_on_the_same_numbers() -> None:
    config = settings(*SMALL, "trainer.batch_size=64")
    data = fold_data(config)
    rows = data.train_rows[:5]
    items = PerUtterance(data, rows)
    found, expected = (
        PerUtterance.collate([items[i] for i in range(5)]),
        data.table(CPU)[torch.from_numpy(rows)],
    )
    for name, x in expected.features.items():
        assert torch.equal(found.features[name], x)
    assert torch.equal(found.emotion, expected.emotion)
    assert torch.equal(found.valence.nan_to_num(9), expected.valence.nan_to_num(9))

    peer = Loop(config, new_module(config, data), data, PEER)
    assert not [m for m in peer.network.modules() if isinstance(m, Dropout)]
    before = [w.detach().clone() for w in peer.weights]
    peer.epoch()
    assert all((w != b).any() for w, b in zip(peer.weights, before, strict=True))


def test_the_sparse_term_is_the_same_in_the_graph() -> None:
    config = settings(*SMALL, "network.dropout=0", "loss.alpha=0.01")
    data = fold_data(config)
    module, batch = new_module(config, data), data.table(CPU)[torch.from_numpy(data.train_rows[:32])]
    loops = [Loop(config, module, data, Way(sparse_term=in_graph)) for in_graph in (False, True)]
    for loop in loops:
        loop.step(batch)
    for ours, theirs in zip(*(loop.weights for loop in loops), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)
        assert ours.grad is not None
        assert float(ours.grad.abs().median()) > 0.005  # the term is most of it


def test_torchs_dropout_drops_as_much_as_ours() -> None:
    network = with_torch_dropout(torch.nn.Sequential(Dropout(0.25)))
    kept = (network(torch.ones(40_000)) != 0).float().mean()
    assert float(kept) == pytest.approx(0.75, abs=0.02)


def test_the_plain_network_loses_the_same_nodes_in_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NETWORKS, "plain", pruning.PlainNetwork)
    network = pruning.PlainNetwork(Architecture({"x": 12}, {}, classes=3, kind="plain")).eval()
    masks, x = thinning(network, 0.3), {"x": torch.randn(4, 12)}
    narrow = compact(network, masks)
    torch.testing.assert_close(narrow(x).log_posterior, masked(network, masks)(x).log_posterior)
    assert narrow.macs() < 0.35 * network.macs()


def test_what_cannot_be_measured_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(module: str, install: str) -> None:
        raise UserError(f"this needs {module}")

    monkeypatch.setattr(pruning, "optional", missing)
    (figure,) = pruning.torch_pruning_ratio(TINY)
    assert figure.spread is None
    assert "torch_pruning" in figure.skipped


@pytest.mark.parametrize("name", ["sgemm_share", "prune_share", "loader_growth", "store"])
def test_an_entry_gives_figures(name: str) -> None:
    for figure in bench.ENTRIES[name](TINY):
        assert figure.spread is not None
        assert all(map(math.isfinite, figure.spread))
        assert figure.unit == "exponent" or figure.spread.low > 0
        json.dumps(figure.as_json())


def test_the_directions_double_their_work() -> None:
    for step in STEPS:
        sizes = {name: size(step) for name, size in DIRECTIONS.items()}
        assert sizes["folds"].folds - 1 == sizes["rounds"].rounds + 1 == sizes["levels"].levels == step


def test_the_command_writes_what_it_shows_and_checks_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    value, curves = 4.0, 0

    def fake(scale: Scale) -> list[Figure]:
        assert scale is TINY
        return [Figure("fake", Spread(value, 3.9, 4.1), goal=5.0, higher=True)]

    def scaling(scale: Scale) -> list[Figure]:
        nonlocal curves
        curves += 1
        return []

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bench, "ENTRIES", {"fake": fake, "scaling": scaling})
    monkeypatch.setattr(bench, "RECORDED", tmp_path / "recorded.json")
    with pytest.raises(SystemExit):  # nothing to check against yet
        bench.main(["--check"], TINY)
    assert bench.main(["--record"], TINY) == 0
    assert "missed" in capsys.readouterr().out
    written = json.loads((tmp_path / "outputs" / "bench.json").read_text())
    assert written["figures"][0] | {"value": 4.0, "low": 3.9, "met": False} == written["figures"][0]
    assert written["machine"]["cores"] >= 1
    assert written["versions"]["torch"] == version("torch")

    value = 2.1
    assert bench.main(["--check", "--only", "fake"], TINY) == 0
    value = 1.9
    assert bench.main(["--check"], TINY) == 1
    assert curves == 1  # measured and recorded, and not in checks, which never compare them
    assert json.loads((tmp_path / "recorded.json").read_text())["figures"][0]["value"] == 4.0


def test_the_picture_is_drawn_from_what_was_measured(tmp_path: Path) -> None:
    curve = {"axis": "levels", "seconds": [1.0, 2.0, 3.9]}
    draw([Figure("scaling.levels", Spread(1, 1, 1), unit="exponent", details=curve)], tmp_path / "x.png")
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


def test_the_readme_explains_every_entry() -> None:
    text = (Path(bench.__file__).parent / "README.md").read_text(encoding="utf-8")
    assert [name for name in bench.ENTRIES if f"`{name}`" not in text] == []
