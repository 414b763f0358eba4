"""A sweep on a real server that speaks W&B's protocol: openwandb, in an environment of its own.

Its licence is non-commercial, so it is no dependency: MER_OPENWANDB names the command, or it is on the PATH.
"""

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mer_lightning.files.run_directory import RunDirectory
from tests.conftest import SMALL, folder_overrides, write_folder
from tests.views.helpers import records

COMMAND = os.environ.get("MER_OPENWANDB") or shutil.which("openwandb")
KEY = "local" + "0" * 40
RATES = ("0.3", "0.5", "0.7")
pytestmark = pytest.mark.skipif(COMMAND is None, reason="no openwandb: MER_OPENWANDB names no command")


class Server:
    """Its address, and what it holds."""

    def __init__(self, address: str, folder: Path) -> None:
        self.address, self.folder = address, folder

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with sqlite3.connect(self.folder / "openwandb.db", timeout=30) as database:
            return database.execute(query, values).fetchall()


@pytest.fixture
def server(tmp_path: Path, free_port: int) -> Iterator[Server]:
    address, folder = f"http://127.0.0.1:{free_port}", tmp_path / "server"
    where = ["--host", "127.0.0.1", "--port", str(free_port), "--data-dir", str(folder)]
    process = subprocess.Popen(
        [str(COMMAND), "serve", *where], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_for(lambda: listens(free_port))
        yield Server(address, folder)
    finally:
        process.terminate()
        process.wait()


def listens(port: int) -> bool:
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def wait_for(there: Callable[[], Any], seconds: float = 300) -> None:
    until = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.2)


def test_a_killed_sweep_arrives_whole_and_nothing_twice(server: Server, tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    command = [
        sys.executable,
        "-m",
        "mer_lightning",
        "-m",
        "+experiment=pnao",
        *SMALL[:-1],
        "folds.workers=1",
    ]
    command += [*folder_overrides(write_folder(tmp_path / "data")), f"pnao.rate={','.join(RATES)}"]
    command += [f"hydra.sweep.dir={sweep}", "hydra.sweep.subdir=${pnao.rate}", "logger=wandb"]
    command += ["logger.wandb.project=emotions", "logger.wandb.entity=default"]
    environment = os.environ | {
        "WANDB_API_KEY": KEY,
        "WANDB_BASE_URL": server.address,
        "HOME": str(tmp_path / "home"),
    }
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL)
    second_run = "select distinct run_id from metrics where key = 'round/com' limit 1 offset 1"
    wait_for(lambda: server.rows(second_run))
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr

    wait_for(lambda: len(server.rows("select 1 from runs where state = 'finished'")) == len(RATES))
    for rate in RATES:
        run = RunDirectory(sweep / rate)
        memory = json.loads(run.tracker("wandb").read_text())
        [[config, name]] = server.rows(
            "select config_json, display_name from runs where run_id = ?", memory["id"]
        )
        assert json.loads(config)["pnao"]["value"]["rate"] == float(rate)
        assert name == rate
        told = server.rows("select key, step, value from metrics where run_id = ?", memory["id"])
        assert len({(key, step) for key, step, _ in told}) == len(told)
        assert {step for _, step, _ in told} == set(range(memory["rows"]))
        com = [value for key, _, value in sorted(told, key=lambda t: t[1]) if key == "round/com"]
        assert com == pytest.approx([r.validation.com for r in run.read_results().rounds])
        files = list(run.path.glob("wandb/run-*/run-*.wandb"))
        assert {r.run.run_group for f in files for r in records(f) if r.HasField("run")} == {"sweep"}
    assert len(server.rows("select 1 from runs")) == len(RATES)
    everything = [p for p in sweep.rglob("*") if p.is_file() and not p.is_symlink()]
    assert not [p for p in everything if KEY.encode() in p.read_bytes()]
