"""Ensembles against plain numpy, and decisions as files: back as they were, or refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from mer_lightning.errors import UserError
from mer_lightning.model.base import Decision
from mer_lightning.model.decisions import (
    EnsembleWeights,
    RowDecisions,
    concatenated,
    ensemble_decision,
    in_order,
    read_decisions,
    write_decisions,
)

B, C = 7, 3
WEIGHTS = EnsembleWeights(torch.tensor([1.0, 3.0]), torch.tensor([0.5, 0.0]))


def decision(branches: int, seed: int, utterances: int = B) -> Decision:
    torch.manual_seed(seed)
    n = utterances
    return Decision(
        torch.randn(n, C).log_softmax(-1),
        torch.randn(n),
        torch.rand(n, branches),
        torch.randn(n, branches, C).log_softmax(-1),
        torch.randn(n, branches),
    )


@pytest.mark.parametrize("ensemble", ["posterior", "logit"])
def test_an_ensemble_by_hand(ensemble: str) -> None:
    members = [decision(2, seed) for seed in (0, 1)]
    found = ensemble_decision(members, WEIGHTS, ensemble)
    one, other = ([x.double().numpy() for x in member] for member in members)
    for i in (0, 3):
        if ensemble == "posterior":
            expected = 0.25 * np.exp(one[i]) + 0.75 * np.exp(other[i])
        else:
            expected = np.exp(0.25 * one[i] + 0.75 * other[i])
            expected /= expected.sum(axis=-1, keepdims=True)
        np.testing.assert_allclose(found[i].exp(), expected, rtol=1e-5)
    np.testing.assert_allclose(found.posterior.sum(dim=1), 1, rtol=1e-6)
    np.testing.assert_allclose(found.weights, 0.25 * one[2] + 0.75 * other[2], rtol=1e-6)
    for i in (1, 4):  # the second member has no weight in valences
        np.testing.assert_allclose(found[i], one[i], rtol=1e-6)


def test_members_with_different_branches() -> None:
    members = [decision(2, 0), decision(2, 1)]
    found = ensemble_decision(members, WEIGHTS, "posterior", [("low", "high"), ("high", "face")])
    a, b = 0.25 * members[0].weights, 0.75 * members[1].weights
    torch.testing.assert_close(found.weights, torch.stack([a[:, 0], a[:, 1] + b[:, 0], b[:, 1]], dim=1))
    assert found.branch_log_posteriors.shape == (B, 0, C)
    assert found.branch_valences.shape == (B, 0)


def test_a_member_alone_and_certain_decisions_stay_as_they_are() -> None:
    sure = decision(1, 0)._replace(log_posterior=torch.tensor([[0.0, -200.0, -300.0]]).expand(B, C))
    alone = EnsembleWeights(torch.ones(1), torch.ones(1))
    for ensemble in ("posterior", "logit"):
        found = ensemble_decision([sure], alone, ensemble)
        torch.testing.assert_close(found.log_posterior, sure.log_posterior)  # no underflow to log 0


def test_parts_in_any_order_become_the_corpus() -> None:
    whole, rows = decision(2, 0), torch.randperm(B)
    parts = [RowDecisions(part, whole.select(part)) for part in rows.split(3)]
    assert all(map(torch.equal, in_order(parts), whole))
    few = concatenated(parts).among(np.array([1, 4]))
    assert sorted(few.rows.tolist()) == [1, 4]
    assert all(map(torch.equal, few.decision, whole.select(few.rows)))


@pytest.mark.parametrize("branches", [0, 2])
def test_a_file_reads_back(tmp_path: Path, branches: int) -> None:
    written = RowDecisions(torch.randperm(B), decision(2, 0))
    d = written.decision
    own = d.branch_log_posteriors[:, :branches].clone(), d.branch_valences[:, :branches].clone()
    written = RowDecisions(written.rows, Decision(*d[:3], *own))
    write_decisions(tmp_path / "x.safetensors", written)
    rows, found = read_decisions(tmp_path / "x.safetensors", B, "write it again")
    assert torch.equal(rows, written.rows)
    assert all(map(torch.equal, found, written.decision))


@pytest.mark.parametrize(
    ("key", "tensor"),
    [
        ("rows", torch.arange(B) + 1),  # beyond the corpus
        ("rows", torch.arange(B) - 1),
        ("rows", torch.arange(B).double()),
        ("log_posterior", torch.zeros(B, C + 1)),
        ("valence", torch.zeros(B, dtype=torch.int64)),
        ("valence", torch.full((B,), torch.nan)),
        ("log_posterior", torch.full((B, C), -torch.inf)),
        ("weights", torch.zeros(B, 5)),
        ("branch_log_posteriors", torch.zeros(B, 1, C)),
        ("branch_valences", torch.zeros(())),
        ("something", torch.zeros(B)),
        ("valence", None),
    ],
)
def test_a_foreign_file_is_refused_in_one_line(tmp_path: Path, key: str, tensor: torch.Tensor | None) -> None:
    path = tmp_path / "x.safetensors"
    write_decisions(path, RowDecisions(torch.arange(B), decision(2, 0)))
    tensors = load_file(path)
    del tensors[key if tensor is None else "rows"]
    given = {} if tensor is None else {"rows": torch.arange(B)} | {key: tensor}
    save_file(tensors | given, path)
    with pytest.raises(UserError, match=r"x\.safetensors: cannot be read.*; write it again$") as refused:
        read_decisions(path, B, "write it again")
    assert "\n" not in str(refused.value)
