"""The network against the paper's equations, written out by hand."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mer_lightning.model.base import Architecture, count_nodes, count_parameters
from mer_lightning.model.fusion import entropy_fusion
from mer_lightning.model.hierarchical import HierarchicalNetwork
from mer_lightning.pnao.importance import weights_of
from mer_lightning.pnao.nodes import widths

TWO_LEVELS = Architecture({"a": 5, "b": 7}, {"x": 4, "y": 3}, classes=6, dimension=8)


def features(architecture: Architecture, n: int = 9) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    sizes = architecture.levels | architecture.shared
    return {name: torch.randn(n, d, generator=generator) for name, d in sizes.items()}


def by_hand(network: HierarchicalNetwork, x: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """AFG, Eq. 1-4 and Eq. 5-7, one branch after the other, from the raw parameters."""
    p = dict(network.named_parameters())

    def linear(name: str, value: Tensor) -> Tensor:
        return value @ p[f"{name}.weight"].T + p[f"{name}.bias"]

    posteriors, valences = [], []
    for i, level in enumerate(network.architecture.levels):
        g, d = f"branches.{i}.gathering", f"branches.{i}.decoder"
        sets = [level, *network.architecture.shared]
        vectors = []
        for s, name in enumerate(sets):
            hidden = F.relu(linear(f"{g}.encoders.{s}.0", x[name]))
            vectors.append(F.relu(linear(f"{g}.encoders.{s}.3", hidden)))
        hidden = F.relu(linear(f"{g}.attention.0", torch.cat(vectors, 1)))
        scores = torch.softmax(linear(f"{g}.score", F.relu(linear(f"{g}.attention.3", hidden))), 1)
        h = sum(scores[:, s : s + 1] * vector for s, vector in enumerate(vectors))
        logits = linear(f"{d}.emotion", h)
        v_h, v_e = linear(f"{d}.valence_hidden", h), torch.tanh(linear(f"{d}.valence_emotion", logits))
        posteriors.append(logits.softmax(1))
        valences.append(linear(f"{d}.valence", torch.cat([v_h, v_e], 1))[:, 0])
    return entropy_fusion(torch.stack(posteriors, 1), torch.stack(valences, 1))


def test_forward_is_the_papers_equations() -> None:
    torch.manual_seed(0)
    network = HierarchicalNetwork(TWO_LEVELS).eval()
    x = features(TWO_LEVELS)
    decision = network(x)
    for got, expected in zip(
        (decision.log_posterior.exp(), decision.valence, decision.weights), by_hand(network, x), strict=True
    ):
        torch.testing.assert_close(got, expected)


def test_counts_match_a_count_by_hand() -> None:
    network = HierarchicalNetwork(Architecture({"a": 5}, {"x": 4}, classes=3, dimension=8))
    encoders = (5 * 16 + 16 + 16 * 8 + 8) + (4 * 16 + 16 + 16 * 8 + 8)
    attention = (16 * 16 + 16) + (16 * 8 + 8) + (8 * 2 + 2)
    heads = (8 * 3 + 3) + (8 + 1) + (3 + 1) + (2 + 1)
    assert count_parameters(network) == encoders + attention + heads
    biases = 16 + 8 + 16 + 8 + 16 + 8 + 2 + 3 + 1 + 1 + 1
    assert network.macs() == encoders + attention + heads - biases
    assert count_nodes(network) == 16 + 16 + 8 + 16 + 8


@pytest.mark.parametrize("fusion", ["entropy", "attention", "mean", "linear"])
@pytest.mark.parametrize(("levels", "shared"), [(1, 0), (1, 2), (3, 0), (12, 1)])
def test_any_number_of_levels_and_shared_sets(fusion: str, levels: int, shared: int) -> None:
    a = Architecture(
        {f"l{i}": 3 + i for i in range(levels)},
        {f"s{i}": 2 + i for i in range(shared)},
        classes=4,
        dimension=6,
        fusion=fusion,
        options={"weights": list(range(1, levels + 1))},
    )
    decision = HierarchicalNetwork(a)(features(a))
    assert decision.log_posterior.shape == (9, 4)
    torch.testing.assert_close(decision.log_posterior.exp().sum(1), torch.ones(9))
    assert decision.weights.shape == (9, levels)
    torch.testing.assert_close(decision.weights.sum(1), torch.ones(9))


def test_without_softmax_the_scores_are_raw() -> None:
    torch.manual_seed(0)
    raw = HierarchicalNetwork(Architecture({"a": 5}, {"x": 4}, classes=3, dimension=8, softmax=False)).eval()
    soft = HierarchicalNetwork(Architecture({"a": 5}, {"x": 4}, classes=3, dimension=8)).eval()
    soft.load_state_dict(raw.state_dict())
    x = features(raw.architecture)
    assert not torch.allclose(raw(x).valence, soft(x).valence)
    gathering = raw.branches[0].gathering
    vectors = [gathering.encoders[0](x["a"]), gathering.encoders[1](x["x"])]
    scores = gathering.score(gathering.attention(torch.cat(vectors, 1)))
    expected = scores[:, :1] * vectors[0] + scores[:, 1:] * vectors[1]
    torch.testing.assert_close(gathering([x["a"], x["x"]]), expected)


@pytest.mark.parametrize("fusion", ["entropy", "attention"])
def test_groups_cover_every_hidden_node_and_no_output(fusion: str) -> None:
    network = HierarchicalNetwork(Architecture({"a": 5, "b": 7}, {"x": 4, "y": 3}, 6, 8, fusion=fusion))
    nodes = network.node_groups()
    produced = [layer for layers in nodes.writes.values() for layer in layers]
    linears = {n for n, m in network.named_modules() if isinstance(m, torch.nn.Linear)}
    outputs = {n for n in linears if "decoder" in n or "score" in n}
    assert sorted(produced) == sorted(linears - outputs)
    assert set(widths(network, nodes)) == set(nodes.groups)  # every size is as declared
    first = {n for n in linears if ".encoders." in n and n.endswith(".0")}
    from_outputs = {n for n in linears if n.endswith(("valence_emotion", "decoder.valence"))}
    assert set(nodes.reads) == linears - first - from_outputs


def test_sparse_term_leaves_out_heads_and_biases() -> None:
    network = HierarchicalNetwork(TWO_LEVELS)
    weights = {id(w) for ws in weights_of(network, network.node_groups()).values() for w in ws}
    for name, parameter in network.named_parameters():
        inside = name.endswith("weight") and "decoder" not in name and "score" not in name
        assert (id(parameter) in weights) == inside, name
