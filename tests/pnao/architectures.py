"""Networks of all kinds whose nodes can be declared, each with an input."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mer_lightning.pnao import Nodes, chain


class Case(NamedTuple):
    """A network, its nodes, and the shape of its input; ``exact``: masked and narrow are one function."""

    make: Callable[[], nn.Module]
    nodes: Nodes
    shape: tuple[int, ...]
    exact: bool = True


def sigmoid_mlp() -> nn.Module:
    """act(0) is not 0: what reads a masked node must not see it."""
    return nn.Sequential(nn.Linear(5, 8), nn.Sigmoid(), nn.Linear(8, 6), nn.Softplus(), nn.Linear(6, 2))


class Residual(nn.Module):
    """A stem, a block added to it (tied nodes), and a flatten into a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.stem_norm = nn.Conv2d(2, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.inner, self.inner_norm = nn.Conv2d(6, 5, 3, padding=1), nn.BatchNorm2d(5, affine=False)
        self.outer, self.outer_norm = nn.Conv2d(5, 6, 1), nn.BatchNorm2d(6)
        self.head, self.out = nn.Linear(6 * 4, 7), nn.Linear(7, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem_norm(self.stem(x)))
        x = x + self.outer_norm(self.outer(F.relu(self.inner_norm(self.inner(x)))))
        y: Tensor = self.out(F.relu(self.head(F.adaptive_avg_pool2d(x, 2).flatten(1))))
        return y


RESIDUAL = Nodes(
    {
        "stream": ("stem_norm", "stem", "outer", "outer_norm"),
        "inner": ("inner_norm", "inner"),
        "head": ("head",),
    },
    {"inner": ("stream",), "outer": ("inner",), "head": (("stream", 4),), "out": ("head",)},
)


def depthwise() -> nn.Module:
    separable = nn.Conv1d(6, 6, 3, padding=1, groups=6), nn.InstanceNorm1d(6, affine=True), nn.ReLU()
    return nn.Sequential(
        nn.Conv1d(2, 6, 1), *separable, nn.Conv1d(6, 4, 1), nn.Flatten(), nn.Linear(4 * 8, 2)
    )


DEPTHWISE = Nodes({"a": ("0", "1", "2"), "b": ("4",)}, {"4": ("a",), "6": (("b", 8),)})


def volume() -> nn.Module:
    return nn.Sequential(
        nn.Conv3d(1, 5, 2),
        nn.BatchNorm3d(5),
        nn.ReLU(),
        nn.Conv3d(5, 4, 1),
        nn.Flatten(),
        nn.Linear(4 * 8, 2),
    )


class Words(nn.Module):
    """An embedding whose dimensions are nodes, beside inputs that nobody prunes."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.first, self.last = nn.Embedding(9, 6), nn.Linear(3 + 6 + 6, 5), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        word = self.words((x[:, 0].abs() * 3).long().clamp_max(8))
        y: Tensor = self.last(F.relu(self.first(torch.cat([x, word, word.square()], dim=1))))
        return y


WORDS = Nodes(
    {"words": ("words",), "first": ("first",)}, {"first": (3, "words", "words"), "last": ("first",)}
)


def group_norm(groups: int) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(2, 8, 1), nn.GroupNorm(groups, 8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 9, 2)
        )

    return make


GROUPED = Nodes({"c": ("0", "1")}, {"4": (("c", 9),)})


def normed(norm: Callable[[int], nn.Module]) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(nn.Linear(5, 8), norm(8), nn.ReLU(), nn.Linear(8, 2))


NORMED = Nodes({"h": ("0", "1")}, {"3": ("h",)})

CASES: Mapping[str, Case] = {
    "sigmoid": Case(sigmoid_mlp, chain("0", "2", "4"), (5,)),
    "residual": Case(Residual, RESIDUAL, (2, 4, 4)),
    "depthwise": Case(depthwise, DEPTHWISE, (2, 8)),
    "conv3d": Case(
        volume, Nodes({"a": ("0", "1"), "b": ("3",)}, {"3": ("a",), "5": (("b", 8),)}), (1, 3, 3, 3)
    ),
    "embedding": Case(Words, WORDS, (3,)),
    "groupnorm-each": Case(group_norm(8), GROUPED, (2, 3, 3)),
    "groupnorm-all": Case(group_norm(1), GROUPED, (2, 3, 3), exact=False),
    "groupnorm-four": Case(group_norm(4), GROUPED, (2, 3, 3), exact=False),
    "groupnorm-two": Case(group_norm(2), GROUPED, (2, 3, 3), exact=False),
    "layernorm": Case(normed(nn.LayerNorm), NORMED, (5,), exact=False),
    "rmsnorm": Case(normed(nn.RMSNorm), NORMED, (5,), exact=False),
    "layernorm-plain": Case(
        normed(lambda n: nn.LayerNorm(n, elementwise_affine=False)), NORMED, (5,), exact=False
    ),
}


def lively(case: Case, seed: int = 0) -> tuple[nn.Module, Tensor]:
    """The network in evaluation mode, with norms that do something, and an input."""
    torch.manual_seed(seed)
    net = case.make()
    for module in net.modules():
        for name in ("weight", "bias", "running_mean", "running_var"):
            tensor: Any = getattr(module, name, None)
            if tensor is not None and tensor.ndim == 1 and "Norm" in type(module).__name__:
                tensor.data.uniform_(0.5, 2)
    return net.eval(), torch.randn(9, *case.shape)
