"""The saved view asks for what runs log, and for nothing else."""

import re
from typing import Any

import pytest

from mer_lightning.files.recorded import Data, Results, Round
from mer_lightning.tasks.dashboard import workspace
from mer_lightning.training.outcome import RoundRecord
from mer_lightning.views.scalars import best_values, epoch_row, round_row
from tests.scores import made_scores

pytest.importorskip("wandb_workspaces")
SCORES = made_scores()
ENTRY = Round(0, 1, 1.0, 1, 1, 1.0, [1], 0.5, 0.0, SCORES, [SCORES], {"test": SCORES}, 0.0, [])
NUMBERS = dict.fromkeys(("fold", "round", "parameters", "prunable", "nodes", "macs", "epochs"), 1)
RECORD = RoundRecord(
    **NUMBERS | {"fold": 0, "round": 0},
    score=0.5,
    widths={},
    density={},
    difference=0.0,
    seconds=1.0,
    deltas=[],
    notes=[],
    history=[{"loss": 1.0, "val_loss": 1.0, "lr": 0.1, "dis": 0.5, "dim": 1.0, "com": 0.25}],
)
RESULTS = Results(
    experiment="pnao", seed=0, folds=1, protocol="paper", transductive=False,
    data=Data("data", True, ["angry", "sad"], {"a": 1}, {}, {"train": 1, "test": 1}),
    rounds=[ENTRY], best_round=0, chosen_by="best", validation=SCORES, test={"test": SCORES},
    single={}, versions={}, seconds=1.0,
)  # fmt: skip


@pytest.fixture(scope="module")
def panels() -> dict[str, list[dict[str, Any]]]:
    """What would be saved: the panels' settings by section."""
    spec = workspace("me", "emotions")._to_model().spec.model_dump(by_alias=True, exclude_none=True)
    sections = spec["section"]["panelBankConfig"]["sections"]
    return {s["name"]: [p["config"] for p in s["panels"]] for s in sections}


def test_its_curves_are_of_logged_metrics(panels: dict[str, list[dict[str, Any]]]) -> None:
    logged = {
        "round": set(round_row(ENTRY).values),
        "epoch": set(epoch_row(0, 1, RECORD.history[0]).values),
    }
    logged["round/parameters"] = logged["round"]
    curves = [c for section in panels.values() for c in section if "metrics" in c]
    assert {c["xAxis"] for c in curves} == set(logged)
    for curve in curves:
        assert set(curve["metrics"]) <= logged[curve["xAxis"]]
        matched = [k for k in logged[curve["xAxis"]] if re.search(curve.get("metricRegex", "$^"), k)]
        assert len(matched) + len(curve["metrics"]) == 1, curve


def test_rounds_are_grouped_by_rate_and_size_has_its_scatter(panels: dict[str, list[dict[str, Any]]]) -> None:
    assert {c["groupBy"] for c in panels["Rounds, by pruning rate"]} == {"pnao.value.rate"}
    scatter = panels["Quality against size"][0]
    best = best_values(RESULTS)
    assert {scatter["xAxis"], scatter["yAxis"]} == {"summary:best/parameters", "summary:best/com"}
    assert {"best/parameters", "best/com"} <= set(best)


def test_confusions_are_shown(panels: dict[str, list[dict[str, Any]]]) -> None:
    media, chart = panels["Confusions"]
    assert media["mediaKeys"] == ["figures/confusion"]
    assert "confusion/validation" in str(chart["userQuery"])
