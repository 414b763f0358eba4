"""Node groups: which rows of which layers are one hidden node, and who reads it.

A network declares its groups itself, because tracing tools get the tied encoder outputs wrong. All
that pruning does, from importance to compaction, follows from this declaration.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Consumer:
    """A linear layer that reads a group: node j arrives at its column ``offset + j``."""

    layer: str
    offset: int = 0


@dataclass(frozen=True)
class NodeGroup:
    """Hidden nodes that live and die together.

    Node j is row j of every producer (their outputs are summed), and column ``offset + j`` of every
    consumer. Layers are named by their path in the network, as in ``network.get_submodule``.
    """

    name: str
    width: int
    producers: tuple[str, ...]
    consumers: tuple[Consumer, ...]
