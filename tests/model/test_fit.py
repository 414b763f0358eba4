"""One fit: back to the early-stop point, with the sparse term, on the rewound schedule."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mer_lightning.config.schema import Config
from mer_lightning.data.datamodule import Batch
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.model.base import Architecture
from mer_lightning.model.build import build
from mer_lightning.model.checkpoint import read_network
from mer_lightning.model.losses import UncertaintyWeighting, emotion_loss, task_losses, valence_loss
from mer_lightning.model.module import EmotionModule
from mer_lightning.model.optimizer import schedule_factor
from mer_lightning.pnao.importance import weights_of
from mer_lightning.tasks import fit

Small = Callable[..., Config]


def trained(config: Config, path: Path) -> RunDirectory:
    run = RunDirectory(path)
    fit.run(config, run)
    return run


def test_the_early_stop_point_is_restored_and_stops_training(small: Small, tmp_path: Path) -> None:
    run = trained(small("+experiment=pnao", "trainer.epochs=25", "trainer.patience=2"), tmp_path / "run")
    results, before_the_end = run.read_results(), 0
    for r in results.rounds:
        for fold in range(2):
            history = json.loads(run.round(fold, r.round).record.read_text())["record"]["history"]
            scores = [epoch["com"] for epoch in history]
            best = scores.index(max(scores))
            assert r.by_fold[fold].com == pytest.approx(scores[best], abs=1e-6)
            assert len(history) in (best + 3, 25)  # the patience
            before_the_end += best < len(history) - 1
    assert before_the_end  # else nothing was restored


@pytest.mark.parametrize("monitor", ["dim", "com", "uar", "accuracy"])
def test_the_monitored_score_stops_training_and_chooses_the_round(
    small: Small, tmp_path: Path, monitor: str
) -> None:
    config = small("+experiment=pnao", f"trainer.monitor={monitor}", "trainer.epochs=12", "pnao.choose=best")
    run = trained(config, tmp_path / "run")
    results, sign = run.read_results(), -1 if monitor == "dim" else 1
    for r in results.rounds:
        by_fold = [sign * getattr(scores, monitor) for scores in r.by_fold]
        assert r.selection == pytest.approx(sum(by_fold) / 2)
        for fold in range(2):
            history = json.loads(run.round(fold, r.round).record.read_text())["record"]["history"]
            assert by_fold[fold] == pytest.approx(max(sign * epoch[monitor] for epoch in history), abs=1e-5)
    assert results.best_round == max(results.rounds, key=lambda r: r.selection).round


def test_class_weights_and_balanced_batches_train(small: Small, tmp_path: Path) -> None:
    plain = trained(small("+experiment=enf"), tmp_path / "plain").read_results()
    for change in ("loss.class_weights=balanced", "data.balanced=true"):
        other = trained(small("+experiment=enf", change), tmp_path / change).read_results()
        assert other.validation.dim != plain.validation.dim


def test_the_sparse_term_shrinks_the_prunable_weights(small: Small, tmp_path: Path) -> None:
    sizes = []
    for alpha in (0.0, 1.0):
        run = trained(small("+experiment=enf", f"loss.alpha={alpha}"), tmp_path / str(alpha))
        network = read_network(run.round(0, 0).network).network
        groups = weights_of(network, network.node_groups()).values()
        sizes.append(sum(float(w.detach().abs().sum()) for weights in groups for w in weights))
    assert sizes[1] < 0.9 * sizes[0]


def test_the_schedule_is_half_a_cosine_or_constant() -> None:
    whole = [schedule_factor("cosine", 10)(e) for e in range(10)]
    assert whole[0] == 1
    assert whole[5] == pytest.approx(0.5)
    assert whole[9] == pytest.approx((1 + math.cos(0.9 * math.pi)) / 2)
    assert {schedule_factor("constant", 10)(e) for e in range(6)} == {1.0}


def test_attention_fusion_learns_from_the_fused_loss_and_leaves_the_branches_to_theirs() -> None:
    torch.manual_seed(0)
    batch = Batch(
        {"low": torch.randn(20, 6), "high": torch.randn(20, 5), "face": torch.randn(20, 4)},
        torch.randint(-1, 3, (20,)),
        torch.where(torch.rand(20) < 0.2, torch.nan, torch.randn(20)),
    )
    attention = Architecture(
        {"low": 6, "high": 5}, {"face": 4}, 3, dimension=8, dropout=0, fusion="attention"
    )
    network = build(attention)
    plain = build(replace(attention, fusion="mean"))
    plain.load_state_dict(network.state_dict() | plain.fusion.state_dict(prefix="fusion."), strict=False)
    present, losses = torch.ones(2, dtype=torch.bool), []
    for one in (network, plain):
        one.fusion_learns_alone = True
        parts = task_losses(one(batch.features), batch, "branch", 1.0)
        losses.append(UncertaintyWeighting()(*parts, present))
        losses[-1].backward()
    assert losses[0].item() == losses[1].item()
    for name, parameter in plain.named_parameters():
        torch.testing.assert_close(network.get_parameter(name).grad, parameter.grad)

    score = network.get_parameter("fusion.score.weight")
    network.fusion_learns_alone = False
    decision = network(batch.features)
    fused = emotion_loss(decision.log_posterior, batch.emotion)  # d1 = d2 = 1
    fused = fused + valence_loss(decision.valence, batch.valence) / 2
    (expected,) = torch.autograd.grad(fused, score)
    torch.testing.assert_close(score.grad, expected)
    assert float(expected.abs().max()) > 1e-3


def test_dropout_is_at_work_in_every_round(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, modes = EmotionModule.training_step, []

    def watched(self: EmotionModule, batch: Batch, batch_idx: int) -> torch.Tensor:
        modes.append({m.training for m in self.network.modules()})
        return step(self, batch, batch_idx)

    monkeypatch.setattr(EmotionModule, "training_step", watched)
    trained(small("+experiment=pnao"), tmp_path / "run")
    assert len(modes) == 2 * 3 * 3  # folds, rounds, epochs of one batch
    assert all(mode == {True} for mode in modes)
