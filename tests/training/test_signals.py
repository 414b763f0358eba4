"""What a batch system sends: the run ends in order, goes back into the queue, and goes on."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mer_lightning.config.schema import Config
from mer_lightning.files.recorded import Results
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.tasks import fit
from mer_lightning.training import signals
from mer_lightning.training.signals import exit_code, requeue
from tests.conftest import SMALL, folder_overrides
from tests.tasks.helpers import without_timings

# as srun would set them for the second of two tasks that have nothing to do with each other
SLURM = {
    "SLURM_JOB_ID": "4711",
    "SLURM_JOB_NAME": "fit",
    "SLURM_NTASKS": "2",
    "SLURM_STEP_NUM_TASKS": "2",
    "SLURM_PROCID": "1",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "0",
    "SLURM_NNODES": "1",
    "SLURM_NODELIST": "localhost",
}
USR1 = KeyboardInterrupt(signal.SIGUSR1)


def stopped(command: list[str], sent: signal.Signals, run: RunDirectory, environment: dict[str, str]) -> Any:
    """The process, and what it said, after a signal in the middle of its second round."""
    process = subprocess.Popen(
        command,
        cwd=run.path.parent,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while process.poll() is None and not run.round(0, 0).done:
        time.sleep(0.02)
    process.send_signal(sent)
    out, err = process.communicate(timeout=300)  # until nobody can write any more: workers have ended too
    return process.returncode, out, err


def outcome(run: RunDirectory) -> Results:
    """The results but for times."""
    return without_timings(run.read_results())


@pytest.mark.parametrize(
    ("sent", "workers"),
    [(signal.SIGTERM, 2), pytest.param(signal.SIGUSR1, 1, marks=pytest.mark.soak)],
)
def test_a_stopped_job_goes_on_to_the_same_results(
    small: Callable[..., Config], folder: Path, tmp_path: Path, sent: signal.Signals, workers: int
) -> None:
    queue = tmp_path / "bin" / "scontrol"
    queue.parent.mkdir()
    queue.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/queue\n')
    queue.chmod(0o755)
    environment = SLURM | {"PATH": f"{queue.parent}:{os.environ['PATH']}"}
    settings = ("+experiment=pnao", "trainer.epochs=30", "trainer.patience=30")
    arguments = [
        *folder_overrides(folder),
        *SMALL,
        *settings,
        f"folds.workers={workers}",
        "hydra.run.dir=run",
    ]
    command = [sys.executable, "-m", "mer_lightning", *arguments]
    run = RunDirectory(tmp_path / "run")

    code, out, err = stopped(command, sent, run, environment)
    assert code == 128 + sent, err
    assert not err or err.startswith("Exception ignored in")  # it came in a destructor, and was raised again
    assert "interrupted; the finished rounds are kept. Continue with: python -m mer_lightning" in out
    assert not run.finished
    requeued = (tmp_path / "queue").read_text() if (tmp_path / "queue").exists() else ""
    assert requeued == ("requeue 4711\n" if sent == signal.SIGUSR1 else "")

    done = subprocess.run(command, cwd=tmp_path, env=os.environ | environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    undisturbed = RunDirectory(tmp_path / "undisturbed")
    fit.run(small(*settings), undisturbed)
    assert outcome(run) == outcome(undisturbed)


def test_only_sigusr1_in_a_slurm_job_is_queued_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # no scontrol to be found
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    assert requeue(USR1) is None
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    assert requeue(KeyboardInterrupt()) is None
    assert requeue(KeyboardInterrupt(signal.SIGTERM)) is None
    assert "scontrol requeue 4711 failed" in str(requeue(USR1))


def test_a_signal_that_comes_in_a_destructor_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    class Noisy:
        def __del__(self) -> None:
            os.kill(os.getpid(), signal.SIGUSR1)
            time.sleep(0.01)

    monkeypatch.setattr(signals, "_asked", None)
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    before = {number: signal.getsignal(number) for number in signals.STOPS}
    signals.stop_like_ctrl_c()
    try:
        signals.stop_if_asked()  # nothing yet
        noisy: Noisy | None = Noisy()
        noisy = None  # ignored by Python
        assert noisy is None
        with pytest.raises(KeyboardInterrupt) as caught:
            signals.stop_if_asked()
        assert caught.value.args == (signal.SIGUSR1,)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_exit_codes_are_a_shells() -> None:
    assert [exit_code(x) for x in (KeyboardInterrupt(), KeyboardInterrupt(signal.SIGTERM), USR1)] == [
        130,
        143,
        138,
    ]


def _lose_an_interrupt(sent: signal.Signals) -> None:
    try:
        os.kill(os.getpid(), sent)
        time.sleep(1)
    except KeyboardInterrupt:
        raise RuntimeError("as some libraries do") from None


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_that_became_an_error_is_an_interrupt_again(
    monkeypatch: pytest.MonkeyPatch, sent: signal.Signals
) -> None:
    monkeypatch.setattr(signals, "_asked", None)
    handlers = {number: signal.getsignal(number) for number in signals.STOPS}
    try:
        signals.stop_like_ctrl_c()
        with pytest.raises(ValueError, match="a library's own"), signals.interruptible():
            raise ValueError("a library's own")  # nobody has asked
        with pytest.raises(KeyboardInterrupt) as caught, signals.interruptible():
            _lose_an_interrupt(sent)
        assert exit_code(caught.value) == 128 + sent
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
