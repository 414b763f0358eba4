"""The comparison over outer folds, against scikit-learn on the same predictions."""

import csv
import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from sklearn.metrics import f1_score

from mer_lightning.errors import UserError
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.tasks import fit
from tests.conftest import SMALL, composed, folder_overrides, write_folder

SCRIPT = Path(__file__).parents[2] / "experiments" / "outer_folds" / "compare.py"


@pytest.fixture(scope="module")
def compare() -> ModuleType:
    spec = importlib.util.spec_from_file_location("compare", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two systems on two outer folds, by speaker."""
    root = tmp_path_factory.mktemp("outer")
    data = write_folder(root / "data")
    with (data / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))
    with (data / "labels.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0], "fold"])
        writer.writeheader()
        writer.writerows(row | {"fold": str(int(row["speaker"][1:]) % 2)} for row in rows)
    for experiment in ("enf", "baseline"):
        for fold in (0, 1):
            overrides = (*folder_overrides(data), *SMALL, f"+experiment={experiment}", "pnao.rounds=0")
            config = composed(*overrides, f"data.test_fold={fold}")
            fit.run(config, RunDirectory(root / "runs" / f"{experiment}_{fold}"))
    return root / "runs"


def test_the_folds_tests_are_put_together(compare: ModuleType, runs: Path) -> None:
    text = compare.main(runs)
    row = next(line for line in text.splitlines() if line.startswith("| enf"))
    scores, true, predicted = [], [], []
    for fold in (0, 1):
        with (runs / f"enf_{fold}" / "predictions.csv").open() as file:
            test = [r for r in csv.DictReader(file) if r["split"] == f"fold_{fold}"]
        true.append([r["emotion"] for r in test])
        predicted.append([r["predicted_emotion"] for r in test])
        scores.append(f1_score(true[-1], predicted[-1], average="weighted"))
    assert [float(c) for c in row.split("|")[2:5]] == pytest.approx([*scores, np.mean(scores)], abs=1e-4)

    systems = compare.by_system(compare.find_runs(runs))
    merged = compare.merged(systems["enf"].seeds[0])
    assert len(set(merged.ids)) == len(merged.ids) == 60  # every utterance is tested once
    classes = np.array(merged.classes)
    assert classes[merged.predicted].tolist() == predicted[0] + predicted[1]
    assert "- enf - baseline: Dis" in text
    assert "12 speakers, 1 seeds" in text


def test_a_system_without_every_fold_is_left_out(compare: ModuleType, runs: Path) -> None:
    only = [run for run in compare.find_runs(runs) if not run.path.name.endswith("enf_1")]
    assert set(compare.by_system(only)) == {"baseline"}
    with pytest.raises(UserError, match="test_fold"):
        compare.by_system([])
