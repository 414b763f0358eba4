"""The controls of PNAO, and what its options change."""

from pathlib import Path

import pytest

from mer_lightning.errors import UserError
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.tasks import fit
from mer_lightning.training.outcome import read_record
from tests.conftest import composed
from tests.tasks.helpers import Small, trained


def test_rewinding_alone_prunes_nothing_but_trains_on(small: Small, tmp_path: Path) -> None:
    pnao = trained(small("+experiment=pnao", "pnao.rounds=1"), tmp_path / "pnao").read_results()
    only = trained(small("+experiment=rewind_only", "pnao.rate=0", "pnao.rounds=1"), tmp_path / "rewind")
    results = only.read_results()
    assert results.rounds[0].validation == pnao.rounds[0].validation
    assert results.rounds[1].parameters_ratio == 1
    assert results.rounds[1].validation != results.rounds[0].validation


def test_controls_by_chance_have_pnaos_sizes(small: Small, tmp_path: Path) -> None:
    pnao = trained(small("+experiment=pnao"), tmp_path / "pnao")
    for name in ("shuffled", "random"):
        control = trained(small(f"+experiment={name}", f"pnao.like={pnao.path}"), tmp_path / name)
        mine, theirs = control.read_results(), pnao.read_results()
        assert mine.rounds[0].validation == theirs.rounds[0].validation
        assert mine.rounds[1].validation != theirs.rounds[1].validation
        for fold in range(2):
            for number in range(3):
                a, b = (read_record(run.round(fold, number)) for run in (control, pnao))
                if name == "shuffled":
                    assert a.widths == b.widths
                else:  # a node more would be too much
                    assert 0.9 * b.prunable < a.prunable <= b.prunable


def test_controls_in_a_sweep_take_the_finished_pnao_run_beside_them(small: Small, tmp_path: Path) -> None:
    trained(small("+experiment=pnao"), tmp_path / "experiment=pnao")
    trained(small("+experiment=pnao", "seed=1"), tmp_path / "experiment=pnao,seed=1")
    for name in ("random", "one_shot"):
        control = trained(small(f"+experiment={name}"), tmp_path / f"experiment={name}")
        assert not control.reference.exists()
    other = trained(small("+experiment=random", "seed=2"), tmp_path / "experiment=random,seed=2")
    assert other.reference.exists()


def test_one_shot_makes_its_reference_and_reaches_its_size_in_one_round(small: Small, tmp_path: Path) -> None:
    control = trained(small("+experiment=one_shot"), tmp_path / "one_shot")
    mine, theirs = control.read_results(), RunDirectory(control.reference).read_results()
    assert [r.parameters for r in mine.rounds[1:]] == [theirs.best.parameters] * 2  # the budget of all rounds
    assert mine.best_round > 0  # whatever validation says: it stands for that size


def test_scratch_has_the_chosen_widths_from_the_start_and_fresh_weights(small: Small, tmp_path: Path) -> None:
    pnao = trained(small("+experiment=pnao"), tmp_path / "pnao")
    control = trained(small("+experiment=scratch", f"pnao.like={pnao.path}"), tmp_path / "scratch")
    chosen = pnao.best_round()
    for fold in range(2):
        widths = read_record(pnao.round(fold, chosen)).widths
        assert [read_record(control.round(fold, n)).widths for n in range(3)] == [widths] * 3
    mine, theirs = control.read_results(), pnao.read_results()
    assert mine.rounds[0].validation != theirs.rounds[chosen].validation


def test_thin_attention_is_narrow_from_the_start(small: Small, tmp_path: Path) -> None:
    run = trained(small("+experiment=thin_attention", "network.attention=3", "pnao.rate=0"), tmp_path / "run")
    widths = read_record(run.round(0, 2)).widths
    assert {w for group, w in widths.items() if "attention" in group} == {3}
    assert {w for group, w in widths.items() if "gathered" in group} == {8}


def test_long_has_the_epochs_of_all_rounds() -> None:
    whole, rounds = composed("+experiment=long"), composed("+experiment=pnao")
    assert whole.trainer.epochs == rounds.trainer.epochs * (rounds.pnao.rounds + 1)
    assert whole.trainer.patience == rounds.trainer.patience * (rounds.pnao.rounds + 1)


def test_a_control_refuses_a_reference_of_another_experiment(small: Small, tmp_path: Path) -> None:
    pnao = trained(small("+experiment=pnao", "pnao.rounds=0", "seed=3"), tmp_path / "pnao")
    with pytest.raises(UserError, match="not the same experiment"):
        fit.run(small("+experiment=random", f"pnao.like={pnao.path}"), RunDirectory(tmp_path / "random"))


def test_carried_moments_change_the_next_round(small: Small, tmp_path: Path) -> None:
    carry = trained(small("+experiment=pnao", "pnao.optimiser=carry"), tmp_path / "carry").read_results()
    reset = trained(small("+experiment=pnao"), tmp_path / "reset").read_results()
    assert carry.rounds[0].validation == reset.rounds[0].validation
    assert carry.rounds[1].parameters == reset.rounds[1].parameters
    assert carry.rounds[1].validation != reset.rounds[1].validation


def test_rewind_epoch_shortens_later_rounds(small: Small, tmp_path: Path) -> None:
    results = trained(small("+experiment=pnao", "pnao.rewind_epoch=2"), tmp_path / "run").read_results()
    assert [r.epochs for r in results.rounds] == [[3, 3], [1, 1], [1, 1]]


def test_a_target_is_met_and_on_one_scale_every_part_of_the_network_gets_smaller(
    small: Small, tmp_path: Path
) -> None:
    run = trained(small("+experiment=pnao", "pnao.scale=layer", "pnao.keep=0.4"), tmp_path / "run")
    for fold in range(2):
        first, *_, last = (read_record(run.round(fold, number)) for number in range(3))
        assert 0.3 < last.prunable / first.prunable <= 0.4  # the guards, of 2 nodes, give none back here
        assert all(last.widths[group] < width for group, width in first.widths.items() if "encoder" in group)
