"""A run trained on data in which every name is an attack."""

import csv
import os
from pathlib import Path

import pytest

from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.report.report import write_report
from mer_lightning.tasks import fit
from tests.conftest import SMALL, composed, folder_overrides, write_folder
from tests.security.helpers import SCRIPT, SECRET


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``data``, every name an attack, and ``runs/run`` trained on it, not to change."""
    root = tmp_path_factory.mktemp("hostile")
    data = write_folder(root / SCRIPT.replace("/", "|"))
    with (data / "labels.csv").open(encoding="utf-8") as file:
        rows = list(csv.reader(file))
    swap = {"happy": f"happy{SCRIPT}", "test": f"test{SCRIPT}", "s1": f"s1{SCRIPT}"}
    rows[1][0] = SCRIPT.replace("/", "|")
    with (data / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([[swap.get(cell, cell) for cell in row] for row in rows])
    (data / "low.npy").rename(data / "<script>low.npy")
    overrides = [o.replace("[low,", "['<script>low',") for o in folder_overrides(data)]
    overrides[1] = "data.root='" + str(data) + "'"
    os.environ["WANDB_API_KEY"] = os.environ["HF_TOKEN"] = SECRET
    try:
        config = composed(
            *overrides, *SMALL, "pnao.rounds=1", "trainer.epochs=1", f"experiment_name='{SCRIPT}'"
        )
        fit.run(config, RunDirectory(root / "runs" / "run"))
        write_report(root / "runs")
    finally:
        del os.environ["WANDB_API_KEY"], os.environ["HF_TOKEN"]
    return root
