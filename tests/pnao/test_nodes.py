"""Declarations: before any training, what does not fit is refused by its name, and the rest let through."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm
from torch.utils.data import TensorDataset

from mer_lightning.pnao import PNAO, Nodes, NodesError, chain
from mer_lightning.pnao.nodes import widths
from tests.pnao.architectures import CASES, lively
from tests.pnao.nets import LAYERS, Regression, loaders, mlp, trainer


@pytest.mark.parametrize(
    ("writes", "reads", "message"),
    [
        ({"a": ("0",), "b": ("0",)}, {"2": ("a", "b")}, "layer '0': its nodes are declared twice"),
        ({"a": ("0", "0")}, {"2": ("a",)}, "layer '0': its nodes are declared twice"),
        ({"a": ("0",)}, {"2": ("b",)}, "reads names the group 'b', which is not in writes"),
        ({"a": ("0",), "b": ("2",)}, {"2": ("a",)}, "group 'b': no layer reads it"),
        ({"a": ()}, {"2": ("a",)}, "group 'a': no layer writes it"),
        ({"a": ("0",)}, {"2": ("a", 0)}, "layer '2': reads a block of no columns"),
        ({"a": ("0",)}, {"2": (("a", -1),)}, "layer '2': reads a block of no columns"),
    ],
)
def test_a_declaration_that_cannot_be_is_refused(writes: Any, reads: Any, message: str) -> None:
    with pytest.raises(NodesError, match=message):
        Nodes(writes, reads)


class Odd(nn.Module):
    """One layer of every kind that cannot be pruned."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last, self.norm = nn.Linear(5, 4), nn.Linear(4, 2), nn.LayerNorm(4)
        self.lstm, self.grouped = nn.LSTM(5, 4), nn.Conv1d(4, 4, 1, groups=2)
        self.depthwise, self.transposed = nn.Conv1d(4, 4, 1, groups=4), nn.ConvTranspose1d(4, 4, 1)
        self.lazy, self.spread = nn.LazyLinear(4), nn.LayerNorm((4, 4))
        self.old, self.older = weight_norm(nn.Linear(5, 4)), spectral_norm(nn.Linear(5, 4))
        self.new, self.masked = parametrizations.weight_norm(nn.Linear(5, 4)), nn.Linear(5, 4)
        prune.random_unstructured(self.masked, "weight", 0.5)
        self.twin = nn.Linear(5, 4)
        self.twin.weight = self.first.weight
        self.wide = nn.Linear(5, 6)


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        (chain("none", "last"), "layer 'none': the module has none of this name"),
        (chain("lstm", "last"), "layer 'lstm': a LSTM cannot have nodes removed; Linear,"),
        (
            Nodes({"a": ("first",)}, {"lstm": ("a",)}),
            "layer 'lstm': a LSTM cannot read pruned nodes; Linear, Conv1d",
        ),
        (Nodes({"a": ("first",)}, {"norm": ("a",)}), "layer 'norm': a LayerNorm cannot read pruned nodes"),
        (chain("transposed", "last"), "layer 'transposed': a ConvTranspose1d cannot have nodes removed"),
        (chain("grouped", "last"), "layer 'grouped': a convolution of 2 groups; only depthwise"),
        (Nodes({"a": ("first",)}, {"depthwise": ("a",)}), "layer 'depthwise': a convolution of 4 groups"),
        (chain("lazy", "last"), "layer 'lazy': a lazy layer without sizes"),
        (Nodes({"a": ("first", "spread")}, {"last": ("a",)}), r"layer 'spread': a LayerNorm over \(4, 4\)"),
        (chain("old", "last"), "layer 'old': its weight is computed"),
        (chain("older", "last"), "layer 'older': its weight is computed"),
        (chain("new", "last"), "layer 'new': its weight is computed"),
        (chain("masked", "last"), "layer 'masked': its weight is computed"),
        (Nodes({"a": ("norm",)}, {"last": ("a",)}), "group 'a': only normalisations in writes"),
        (Nodes({"a": ("first", "wide")}, {"last": ("a",)}), "layer 'wide': 6 nodes, where 'first' .* has 4"),
        (chain("wide", "last"), "layer 'last': reads 4 columns, its sources have 6"),
        (Nodes({"a": ("wide",)}, {"last": ("a", 1)}), "layer 'last': reads 4 columns, its sources have 7"),
        (chain("first", "last"), "layer 'twin': its weight is also 'first.weight'; untie them"),
    ],
)
def test_a_layer_that_does_not_fit_is_refused_before_any_training(nodes: Nodes, message: str) -> None:
    with pytest.raises(NodesError, match=message):
        next(PNAO(nodes).rounds(Regression(Odd(), nodes.under("net")).net))  # type: ignore[arg-type]


def test_nodes_come_from_the_module_or_from_the_user() -> None:
    module = Regression()
    assert widths(module, module.node_groups()) == {"net.0": 8, "net.3": 6}
    with pytest.raises(NodesError, match=r"Linear has no node_groups\(\); give nodes=Nodes"):
        next(PNAO().rounds(nn.Linear(2, 2)))  # type: ignore[arg-type]
    module.node_groups = lambda: {"a": 1}  # type: ignore[assignment, method-assign, return-value]
    with pytest.raises(NodesError, match=r"Regression.node_groups\(\) gave a dict, not Nodes"):
        next(PNAO().rounds(module))
    assert next(PNAO(chain("net.0", "net.3")).rounds(module)) == 0


class TwoInputs(nn.Module):
    """Two encoders of equal width, concatenated, scored, added: what can be declared wrongly in many ways."""

    def __init__(self, scale: bool = False) -> None:
        super().__init__()
        self.a, self.b, self.tied = nn.Linear(5, 4), nn.Linear(5, 4), nn.Linear(5, 4)
        self.read, self.second = nn.Linear(8, 2), nn.Linear(4, 2)
        self.norm = nn.LayerNorm(4)
        self.scale = nn.Parameter(torch.full((4,), 2.0)) if scale else None

    def forward(self, x: Tensor) -> Tensor:
        a, b = F.relu(self.a(x)) + self.tied(x), F.relu(self.b(x))
        b = b if self.scale is None else b * self.scale
        y: Tensor = self.read(torch.cat([a, self.norm(b)], dim=1)) + self.second(a)
        return y


GOOD = Nodes(
    {"a": ("net.a", "net.tied"), "b": ("net.b", "net.norm")}, {"net.read": ("a", "b"), "net.second": ("a",)}
)


def changed(**parts: Any) -> Nodes:
    """The good declaration, some of it replaced or (None) left out."""
    both = {"writes": dict(GOOD.writes), "reads": dict(GOOD.reads)}
    for which, new_parts in parts.items():
        both[which] = {k: v for k, v in {**both[which], **new_parts}.items() if v is not None}
    return Nodes(both["writes"], both["reads"])


def try_out(
    net: nn.Module, nodes: Nodes, shape: tuple[int, ...] = (5,), kind: type[Regression] = Regression
) -> PNAO:
    """Round 0, of one epoch; a refusal comes before the first step, and leaves all as it was."""
    module, pnao = kind(net, nodes), PNAO(rounds=0)
    before = {name: (id(p), p.detach().clone()) for name, p in module.named_parameters()}
    next(pnao.rounds(module))
    try:
        dataset = TensorDataset(torch.randn(8, *shape), torch.randn(8, 2))
        trainer(pnao, max_epochs=1).fit(module, *loaders(dataset))
    except NodesError:
        assert module.training
        for name, parameter in module.named_parameters():
            assert before[name][0] == id(parameter)
            assert before[name][1].equal(parameter)
        raise
    return pnao


@pytest.mark.parametrize("name", CASES)
def test_the_dry_run_lets_right_declarations_through(name: str) -> None:
    net, _ = lively(CASES[name])
    pnao = try_out(net, CASES[name].nodes.under("net"), CASES[name].shape)
    assert [record["round"] for record in pnao.history] == [0]
    try_out(TwoInputs(), GOOD)


OUTPUTS = "the outputs are not those of the masked module"


@pytest.mark.parametrize(
    ("nodes", "scale", "message"),
    [
        (changed(reads={"net.second": None}), False, "layer 'net.second': cannot be run with a narrower 'a'"),
        (changed(writes={"b": ("net.b",)}), False, "layer 'net.norm': cannot be run with a narrower 'b'"),
        (
            changed(writes={"a": ("net.a",)}),
            False,
            "layer 'net': cannot be run with a narrower 'a'",
        ),  # the sum
        (GOOD, True, "layer 'net': cannot be run with a narrower 'b'"),  # the raw parameter
        (changed(reads={"net.read": ("b", "a")}), False, f"group 'a': .*{OUTPUTS}"),
        (
            changed(reads={"net.read": (("a", 2),)}, writes={"b": None}),
            False,
            "layer 'net.read': cannot be run",
        ),
    ],
)
def test_the_dry_run_finds_wrong_declarations(nodes: Nodes, scale: bool, message: str) -> None:
    torch.manual_seed(0)
    with pytest.raises(NodesError, match=message):
        try_out(TwoInputs(scale), nodes)


class Then(nn.Module):
    """A convolution, something done to its channels in forward, and a linear layer."""

    def __init__(self, between: Any, first: nn.Module | None = None) -> None:
        super().__init__()
        self.first = first or nn.Conv2d(2, 8, 1)
        self.between, self.last = between, nn.Linear(8 * 9, 2)

    def forward(self, x: Tensor) -> Any:
        return self.between(self.first(x), self.last)


def channels_last(x: Tensor, last: nn.Module) -> Any:
    return last(x.permute(0, 2, 3, 1).flatten(1))


def centred(x: Tensor, last: nn.Module) -> Any:
    return last((x - x.mean(dim=1, keepdim=True)).flatten(1))


def reversed_channels(x: Tensor, last: nn.Module) -> Any:
    return last(x.flip(1).flatten(1))


THEN = Nodes({"c": ("net.first",)}, {"net.last": (("c", 9),)})


@pytest.mark.parametrize("between", [channels_last, centred, reversed_channels])
def test_the_dry_run_sees_what_forward_does_with_nodes(between: Any) -> None:
    torch.manual_seed(0)
    with pytest.raises(NodesError, match=f"group 'c': .*{OUTPUTS}"):
        try_out(Then(between), THEN, (2, 3, 3))


def test_a_norm_over_nodes_does_not_hide_the_other_groups() -> None:
    """Group b has a LayerNorm, whose outputs may differ; that a and c are swapped is still seen."""

    class Three(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(5, 4), nn.Linear(5, 4), nn.Linear(5, 4)
            self.norm, self.read = nn.LayerNorm(4), nn.Linear(12, 2)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.read(torch.cat([self.a(x), self.norm(self.b(x)), self.c(x)], dim=1))
            return y

    writes = {"a": ("net.a",), "b": ("net.b", "net.norm"), "c": ("net.c",)}
    try_out(Three(), Nodes(writes, {"net.read": ("a", "b", "c")}))
    with pytest.raises(NodesError, match="group 'a'"):
        try_out(Three(), Nodes(writes, {"net.read": ("c", "b", "a")}))


def test_nodes_that_are_outputs_themselves_are_refused() -> None:
    class Exposing(Regression):
        def forward(self, x: Tensor) -> Any:
            return self.net(x), self.net.get_submodule("0")(x)

    try_out(mlp(), chain(*LAYERS))
    with pytest.raises(NodesError, match=f"group 'net.0': .*{OUTPUTS}"):
        try_out(mlp(), chain(*LAYERS), kind=Exposing)


def test_a_module_that_cannot_be_run_says_what_to_do() -> None:
    class Mapped(Regression):
        def forward(self, x: Any) -> Any:
            return self.net(x["features"])

    with pytest.raises(NodesError, match=r"Mapped.forward could not be run .* example_input_array"):
        try_out(mlp(), chain(*LAYERS), kind=Mapped)
