"""Nodes: which rows of which layers are one hidden node, and which layers read it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import lcm

from torch import nn

from mer_lightning.pnao.layers import NORMS, NodesError, check_layer, columns, width

Source = str | int | tuple[str, int]


@dataclass(frozen=True)
class Nodes:
    """A declaration without widths, so that it holds in every round.

    Args:
        writes: group -> the layers whose output row (channel, dimension) j is node j. Several: their outputs
            are added or passed on, so that the nodes are tied. Normalisations and depthwise convolutions on
            the group's nodes belong here too.
        reads: layer -> what its input columns (channels) are, in order: a group; a number of columns that
            nobody prunes; or ``(group, k)``, k columns in a row for each node, as after a flatten.

    >>> Nodes(writes={"hidden": ("first",)}, reads={"second": ("hidden", 3)}).groups
    ('hidden',)
    """

    writes: Mapping[str, Sequence[str]]
    reads: Mapping[str, Sequence[Source]]

    def __post_init__(self) -> None:
        for name, of in (*self.writes.items(), *self.reads.items()):
            if isinstance(of, str):
                raise NodesError(f"{name!r}: expected a list or a tuple, found {of!r}; a comma is missing")
        owners = Counter(layer for layers in self.writes.values() for layer in layers)
        if twice := [layer for layer, count in owners.items() if count > 1]:
            raise NodesError(f"layer {twice[0]!r}: its nodes are declared twice in writes")
        blocks = {layer: list(map(block, sources)) for layer, sources in self.reads.items()}
        if odd := [layer for layer, found in blocks.items() if any(count < 1 for _, count in found)]:
            raise NodesError(
                f"layer {odd[0]!r}: reads a block of no columns; expected 1 or more for each node"
            )
        read = {group for found in blocks.values() for group, _ in found if group is not None}
        if unknown := sorted(read - set(self.writes)):
            raise NodesError(f"reads names the group {unknown[0]!r}, which is not in writes")
        if unread := sorted(set(self.writes) - read):
            raise NodesError(f"group {unread[0]!r}: no layer reads it, so its nodes are outputs")
        if empty := [group for group, layers in self.writes.items() if not layers]:
            raise NodesError(f"group {empty[0]!r}: no layer writes it")

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the groups."""
        return tuple(self.writes)

    def under(self, prefix: str) -> "Nodes":
        """The same nodes, of a module that is the submodule ``prefix`` of another."""
        return Nodes(
            {group: tuple(f"{prefix}.{name}" for name in layers) for group, layers in self.writes.items()},
            {f"{prefix}.{name}": tuple(sources) for name, sources in self.reads.items()},
        )


def chain(*layers: str) -> Nodes:
    """The nodes between layers in a row; a group is named after the layer that writes it.

    The last layer's outputs are the module's, and stay.

    >>> chain("a", "b", "c").reads
    {'b': ('a',), 'c': ('b',)}
    """
    return Nodes({name: (name,) for name in layers[:-1]}, {b: (a,) for a, b in pairwise(layers)})


def block(source: Source) -> tuple[str | None, int]:
    """A source as (group, columns for each node), or (None, columns)."""
    if isinstance(source, int):
        return None, source
    return (source, 1) if isinstance(source, str) else (str(source[0]), int(source[1]))


def declared(module: nn.Module, nodes: Nodes | None) -> Nodes:
    """``nodes``, or what the module's ``node_groups()`` says. NodesError if it says nothing."""
    if nodes is not None:
        return nodes
    own = getattr(module, "node_groups", None)
    if own is None:
        raise NodesError(f"{type(module).__name__} has no node_groups(); give nodes=Nodes(...) or chain(...)")
    found = own()
    if not isinstance(found, Nodes):
        raise NodesError(f"{type(module).__name__}.node_groups() gave a {type(found).__name__}, not Nodes")
    return found


def widths(module: nn.Module, nodes: Nodes) -> dict[str, int]:
    """Group -> its number of nodes in ``module``.

    Raises:
        NodesError: the declaration does not fit, by the name of the layer: an unknown or unsuitable one,
            or one whose size is another's than declared.
    """
    found: dict[str, int] = {}
    for group, names in nodes.writes.items():
        layers = {name: check_layer(module, name, reads=False) for name in names}
        if all(isinstance(layer, NORMS) for layer in layers.values()):
            raise NodesError(f"group {group!r}: only normalisations in writes; who computes its nodes?")
        for name, layer in layers.items():
            if width(layer) != found.setdefault(group, width(layer)):
                raise NodesError(
                    f"layer {name!r}: {width(layer)} nodes, where {names[0]!r} of the same group {group!r} "
                    f"has {found[group]}"
                )
    for name, sources in nodes.reads.items():
        layer = check_layer(module, name, reads=True)
        expected = sum(found[group] * k if group is not None else k for group, k in map(block, sources))
        if columns(layer) != expected:
            raise NodesError(f"layer {name!r}: reads {columns(layer)} columns, its sources have {expected}")
    _refuse_shared(module, nodes)
    return found


def _refuse_shared(module: nn.Module, nodes: Nodes) -> None:
    """NodesError for a weight that is also another layer's, or has another name: narrowing would lose it."""
    touched = {*nodes.reads, *(name for names in nodes.writes.values() for name in names)}
    names: dict[int, str] = {}
    own = {name for name, _ in module.named_parameters(remove_duplicate=False)}
    for layer in sorted(touched):
        if any(
            f"{layer}.{tensor}" not in own for tensor, _ in module.get_submodule(layer).named_parameters()
        ):
            raise NodesError(
                f"layer {layer!r}: its weights have other names in the module, as torch.compile(...) gives; "
                "compile in place instead: module.compile()"
            )
    for name, parameter in module.named_parameters(remove_duplicate=False):
        other = names.setdefault(id(parameter), name)
        layers = {name.rpartition(".")[0], other.rpartition(".")[0]}
        if other != name and layers & touched:
            raise NodesError(f"layer {name.rpartition('.')[0]!r}: its weight is also {other!r}; untie them")


def norm_parts(module: nn.Module, nodes: Nodes) -> dict[str, int]:
    """Group -> parts of the GroupNorm on it, if each has several nodes: they must stay equally wide."""
    found: dict[str, int] = {}
    for group, names in nodes.writes.items():
        for layer in map(module.get_submodule, names):
            if isinstance(layer, nn.GroupNorm) and 1 < layer.num_groups < layer.num_channels:
                found[group] = lcm(found.get(group, 1), layer.num_groups)
    return found
