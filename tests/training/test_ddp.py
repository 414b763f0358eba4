"""One fit on several devices: two real processes do what one does, and what cannot work is said early."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from mer_lightning.config.schema import Config
from mer_lightning.errors import UserError
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.model.losses import UncertaintyWeighting, emotion_loss, share_of_labels, valence_loss
from mer_lightning.tasks import fit
from mer_lightning.training.devices import check_devices
from tests.conftest import SMALL, folder_overrides

Small = Callable[..., Config]
# 25 utterances to train on: the last batch has one, and rank 1 none of it
OVERRIDES = ("+experiment=pnao", "network.dropout=0", "trainer.batch_size=12", "trainer.epochs=8")
TWO = ("trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu", "folds.workers=auto")


def test_two_processes_do_what_one_does_even_if_they_are_stopped(
    small: Small, folder: Path, tmp_path: Path
) -> None:
    one = RunDirectory(tmp_path / "one")
    fit.run(small(*OVERRIDES, "pnao.rounds=1"), one)
    arguments = [*folder_overrides(folder), *SMALL, *OVERRIDES, "pnao.rounds=1", *TWO, "hydra.run.dir=two"]
    command = [sys.executable, "-m", "mer_lightning", *arguments]
    two = RunDirectory(tmp_path / "two")

    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while process.poll() is None and not two.round(0, 0).done:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)  # to rank 0 alone
    out, err = process.communicate(timeout=300)  # which waits for whoever else could write
    assert (process.returncode, err) == (143, "")
    assert "interrupted; the finished rounds are kept. Continue with:" in out
    assert not two.finished

    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("round  1") == 1  # rank 1 shows nothing
    assert files(two.path) == files(one.path)  # and leaves nothing
    for number in (0, 1):
        for fold in (0, 1):
            ours, theirs = (run.round(fold, number) for run in (two, one))
            found, expected = (json.loads(r.record.read_text())["record"] for r in (ours, theirs))
            assert found["parameters"] == expected["parameters"]
            assert found["deltas"] == pytest.approx(expected["deltas"], abs=1e-5)
            for a, b in zip(found["history"], expected["history"], strict=True):
                assert a["dis"] == b["dis"]  # every utterance is counted once
                assert a == pytest.approx(b, abs=1e-5)
            a, b = (load_file(f"{r.network}.safetensors") for r in (ours, theirs))
            for name in b:  # of the same nodes
                torch.testing.assert_close(a[name], b[name], atol=1e-5, rtol=0)


def files(path: Path) -> set[str]:
    return {str(p.relative_to(path)) for p in path.rglob("*")}


def weighted_gradient(weights: Tensor, x: Tensor, labels: tuple[Tensor, Tensor], share: Tensor) -> Tensor:
    """A linear network's gradient of the weighted losses of some utterances."""
    weights = weights.clone().requires_grad_()
    out = x @ weights
    losses = torch.stack(
        [emotion_loss(out[:, :3].log_softmax(-1), labels[0]), valence_loss(out[:, 3], labels[1])]
    )
    UncertaintyWeighting()(*(losses * share), torch.tensor([True, True])).backward()
    assert weights.grad is not None
    return weights.grad


@pytest.mark.parametrize("cuts", [[5, 6], [7, 7], [3, 11], [0, 11]])  # of 11 utterances, for three ranks
def test_however_a_batch_is_divided_its_gradient_is_the_same(cuts: list[int]) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(11, 5, generator=generator, dtype=torch.double)
    weights = torch.randn(5, 4, generator=generator, dtype=torch.double)
    emotion = torch.tensor([0, 1, 2, -1, -1, 0, 2, 1, -1, 0, 1])
    valence = torch.randn(11, generator=generator, dtype=torch.double)
    valence[[0, 1, 2, 6]] = torch.nan
    known = torch.stack([(emotion >= 0).sum(), (~valence.isnan()).sum()])
    parts = [0, *cuts, 11]
    gradients = []
    for a, b in pairwise(parts):
        mine = torch.stack([(emotion[a:b] >= 0).sum(), (~valence[a:b].isnan()).sum()])
        share, present = share_of_labels(mine, known, 3)
        assert present.all()
        gradients.append(weighted_gradient(weights, x[a:b], (emotion[a:b], valence[a:b]), share))
    whole = weighted_gradient(weights, x, (emotion, valence), torch.ones(2))
    torch.testing.assert_close(torch.stack(gradients).mean(0), whole)


@pytest.mark.parametrize(
    ("overrides", "environment", "gpus", "message"),
    [
        (["trainer=ddp"], {}, 0, "there is none here"),
        (["trainer.devices=3"], {}, 2, "2 GPUs"),
        (["trainer.devices=2", "trainer.accelerator=gpu"], {}, 0, "0 GPUs"),
        (["trainer.nodes=2"], {}, 0, "nobody has started this command on the other machines"),
        (["trainer.devices=2", "folds.workers=2"], {}, 0, "folds.workers=2"),
        (
            ["trainer.devices=2"],
            {"SLURM_STEP_NUM_TASKS": "4", "SLURM_NTASKS": "4", "SLURM_NTASKS_PER_NODE": "4"},
            0,
            "`--ntasks-per-node=4`",
        ),
        (
            ["trainer.devices=1"],
            {"TORCHELASTIC_RUN_ID": "1", "WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0"},
            0,
            "world size (2)",
        ),
    ],
)
def test_devices_that_cannot_work_together_are_named(
    small: Small,
    monkeypatch: pytest.MonkeyPatch,
    overrides: list[str],
    environment: dict[str, str],
    gpus: int,
    message: str,
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError) as caught:
        check_devices(small(*overrides))
    assert message in str(caught.value)


def test_a_fine_configuration_passes(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for overrides in (
        [],
        ["trainer=ddp"],
        ["trainer.devices=2"],
        ["trainer.devices=4", "trainer.accelerator=cpu"],
    ):
        check_devices(small(*overrides))


def test_a_sweep_does_not_start_itself_again(folder: Path, tmp_path: Path) -> None:
    sweep = ["-m", *folder_overrides(folder), *SMALL, *TWO, "seed=0", "hydra.sweep.dir=sweep"]
    done = subprocess.run(
        [sys.executable, "-m", "mer_lightning", *sweep], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode != 0
    assert "a sweep cannot share one fit among processes" in done.stderr
    assert "Traceback" not in done.stderr
