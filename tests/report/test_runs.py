"""Runs read as they were written, ordered into systems; broken ones named."""

import csv
import io
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from mer_lightning.errors import UserError
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.report import table
from mer_lightning.report.calibration import run_reliability
from mer_lightning.report.costs import costs
from mer_lightning.report.pairs import clusters, comparisons, run_sums
from mer_lightning.report.pruning import weight_values
from mer_lightning.report.runs import TRAIN_VAL, FinishedRun, at_round, find_runs, read_run
from mer_lightning.report.systems import data_sets
from mer_lightning.results.sums import scores


def recomputed(run: FinishedRun, part: str) -> list[float]:
    rows = run.rows(part)
    sums = run_sums(run, part, np.zeros(len(rows), dtype=np.int64))
    return list(scores(sums.confusion[0], sums.error[0], sums.labelled[0]))


def test_the_predictions_of_every_round_give_its_reported_scores(finished: list[FinishedRun]) -> None:
    for run in finished:
        for entry in run.results.rounds:
            there = at_round(run, entry.round)
            for part, reported in ((TRAIN_VAL, entry.validation), ("test", entry.test["test"])):
                assert recomputed(there, part) == pytest.approx([reported.dis, reported.dim, reported.com])
        best = at_round(run, run.results.best_round)
        assert all(map(torch.equal, best.decision, run.decision))


def test_runs_become_systems_in_the_papers_order(finished: list[FinishedRun]) -> None:
    (data,) = data_sets(finished[::-1])
    assert [s.experiment for s in data.systems] == ["baseline", "enf", "pnao", "rewind_only"]
    assert all(s.seeds == [0, 1, 2] for s in data.systems)
    assert data.parts == [TRAIN_VAL, "test"]
    assert data.headline == ("test", "com")
    assert not data.synthetic


def changed(source: Path, target: Path, **settings: object) -> Path:
    """A copy of a run with other settings, ``pnao__rate=0.01``."""
    shutil.copytree(source, target)
    config = yaml.safe_load((target / "config.yaml").read_text())
    for key, value in settings.items():
        group, _, name = key.rpartition("__")
        (config[group] if group else config)[name] = value
    (target / "config.yaml").write_text(yaml.safe_dump(config))
    return target


OWN = {
    "network__dimension": 128, "trainer__epochs": 30, "trainer__learning_rate": 2e-3, "pnao__rounds": 10,
    "pnao__rate": 0.007, "pnao__min_width": 8,
}  # fmt: skip


def test_a_system_is_named_by_every_setting_that_is_not_its_experiments(
    trained_runs: Path, tmp_path: Path
) -> None:
    """The order of folders has no say, and a swept value is always shown."""
    swept = {"a": 0.2, "b": 0.007, "c": 0.005}
    for folder, rate in swept.items():
        changed(trained_runs / "pnao_0", tmp_path / folder, **(OWN | {"pnao__rate": rate}))
    changed(trained_runs / "pnao_0", tmp_path / "d", **OWN, fusion__kind="attention", folds__workers=7)
    (data,) = data_sets(find_runs(tmp_path))
    rows = {row.system: row.published_name for row in table.rows(data)}
    assert rows == {
        "pnao": "Ours(EnF+PNAO)",
        "pnao (fusion.kind=attention)": "",
        "pnao (pnao.rate=0.005)": "",
        "pnao (pnao.rate=0.2)": "",
    }
    compared = {(c.first, c.second) for c in comparisons(data)}
    assert len(compared) == 6  # each with each
    assert all(first != second for first, second in compared)


def test_a_setting_that_all_systems_share_is_said_once_but_costs_the_papers_name(
    trained_runs: Path, tmp_path: Path
) -> None:
    own = OWN | {"trainer__epochs": 7}
    changed(trained_runs / "pnao_0", tmp_path / "pnao", **own)
    (alone,) = data_sets(find_runs(tmp_path))
    assert [s.label for s in alone.systems] == ["pnao (trainer.epochs=7)"]
    changed(trained_runs / "enf_0", tmp_path / "enf", **own | {"pnao__rounds": 0})
    (both,) = data_sets(find_runs(tmp_path))
    assert [s.label for s in both.systems] == ["enf", "pnao"]
    assert both.shared_changes == {"trainer.epochs": "7"}
    assert "trainer.epochs=7" in table.markdown(both)
    assert "[Ours" not in table.markdown(both)


def test_settings_of_the_data_are_shown_where_they_differ(trained_runs: Path, tmp_path: Path) -> None:
    changed(trained_runs / "pnao_0", tmp_path / "a", **OWN)
    changed(trained_runs / "pnao_0", tmp_path / "b", **OWN, data__folds="column")
    (data,) = data_sets(find_runs(tmp_path))
    assert [s.label for s in data.systems] == ["pnao (data.folds=2)", "pnao (data.folds=column)"]


def test_questions_are_asked_of_systems_that_are_otherwise_alike(trained_runs: Path, tmp_path: Path) -> None:
    changed(trained_runs / "pnao_0", tmp_path / "a", **OWN)
    changed(trained_runs / "pnao_0", tmp_path / "b", **OWN, fusion__kind="attention")
    changed(trained_runs / "enf_0", tmp_path / "c", **OWN | {"pnao__rounds": 0})
    (data,) = data_sets(find_runs(tmp_path))
    asked = [c for c in comparisons(data) if c.question == "Does PNAO improve the network it starts from?"]
    assert {(c.first, c.second) for c in asked} == {("pnao", "enf")}  # not the one with attention fusion
    shutil.rmtree(tmp_path / "a")
    (data,) = data_sets(find_runs(tmp_path))
    (asked, *_) = comparisons(data)
    assert (asked.first, asked.second) == ("pnao (fusion.kind=attention)", "enf")
    assert asked.other_settings == ["fusion.kind: attention and entropy"]
    changed(trained_runs / "pnao_0", tmp_path / "z", **OWN, experiment_name="x", fusion__kind="attention")
    results = json.loads((tmp_path / "z" / "results.json").read_text()) | {"experiment": "pnao_attention"}
    (tmp_path / "z" / "results.json").write_text(json.dumps(results))
    (data,) = data_sets(find_runs(tmp_path))
    assert not [c for c in comparisons(data) if c.question.endswith("attention fusion after PNAO?")]


def test_other_labels_make_another_data_set(trained_runs: Path, tmp_path: Path) -> None:
    shutil.copytree(trained_runs / "enf_0", tmp_path / "a")
    other = shutil.copytree(trained_runs / "enf_1", tmp_path / "b") / "predictions.csv"
    lines = other.read_text().splitlines()
    other.write_text(
        "\n".join([lines[0], lines[1].replace(lines[1].split(",")[0], "renamed"), *lines[2:]]) + "\n"
    )
    first, second = data_sets(find_runs(tmp_path))
    assert first.name.endswith("no. 1")
    assert second.name.endswith("no. 2")


def test_other_features_of_the_same_names_make_another_data_set(trained_runs: Path, tmp_path: Path) -> None:
    for name in ("enf_0", "enf_1"):
        shutil.copytree(trained_runs / name, tmp_path / name)
    assert len(data_sets(find_runs(tmp_path))) == 1
    data = RunDirectory(tmp_path / "enf_1").data
    hashes = json.loads(data.read_text())
    hashes["features"]["low"] = "0" * 64
    data.write_text(json.dumps(hashes))
    assert [s.runs[0].seed for d in data_sets(find_runs(tmp_path)) for s in d.systems] == [0, 1]


def test_speakers_are_the_clusters_where_they_are_known(finished: list[FinishedRun]) -> None:
    run = finished[0]
    rows = run.rows(TRAIN_VAL)
    cluster, unit = clusters(run, rows)
    if (run.group != "").any():
        assert unit == "speakers"
        assert len(set(zip(cluster, run.group[rows], strict=True))) == len(set(run.group[rows]))
    shared = np.array(["a", "a", "", ""])
    some = type(run)(**{**vars(run), "group": shared, "ids": np.array(list("wxyz"))})
    cluster, unit = clusters(some, np.arange(4))
    assert unit == "speakers"
    assert cluster[0] == cluster[1]
    assert len(set(cluster)) == 3
    config = run.config | {"data": run.config["data"] | {"group": "dialogue_id"}}
    videos = type(run)(**{**vars(some), "config": config})
    assert clusters(videos, np.arange(4))[1] == "groups"
    nobody = type(run)(**{**vars(run), "group": np.full(4, ""), "ids": np.array(list("wxyz"))})
    assert clusters(nobody, np.arange(4))[1] == "utterances"


def test_what_the_rounds_left_behind(finished: list[FinishedRun]) -> None:
    (data,) = data_sets(finished)
    counts = [len(weight_values(data.of("pnao")[0].runs[0], r)) for r in range(3)]
    assert counts[0] > counts[1] > counts[2]


def chosen(run: FinishedRun, number: int) -> FinishedRun:
    """The run as if validation had chosen another round."""
    return replace(at_round(run, number), results=replace(run.results, best_round=number))


def test_a_loss_is_told_at_the_chosen_round_against_the_control_in_the_same_round(
    finished: list[FinishedRun],
) -> None:
    pruned = [chosen(run, 1 + run.seed % 2) for run in finished if run.experiment == "pnao"]
    control = [run for run in finished if run.experiment == "rewind_only"]
    (data,) = data_sets([*pruned, *control])
    (found,) = costs(data, "pnao")
    assert found.rounds == (1, 2, 1)
    assert found.second.endswith("in the same round")
    ratios = [run.results.best.parameters_ratio for run in pruned]
    assert found.parameters_ratio == pytest.approx(np.mean(ratios))

    def dis(runs: list[FinishedRun]) -> float:
        return float(np.mean([recomputed(run, "test")[0] for run in runs]))

    same = [at_round(run, number) for run, number in zip(control, found.rounds, strict=True)]
    assert found.differences["dis"] is not None
    assert found.differences["dis"].value == pytest.approx(dis(pruned) - dis(same))

    (data,) = data_sets(pruned)
    (found,) = costs(data, "pnao")
    assert found.second == "its own round 0"
    assert found.differences["dis"] is not None
    assert found.differences["dis"].value == pytest.approx(
        dis(pruned) - dis([at_round(r, 0) for r in pruned])
    )
    (data,) = data_sets([chosen(run, 0) for run in pruned])
    assert costs(data, "pnao") == []  # nothing is smaller


def test_a_controls_reference_is_part_of_the_control(trained_runs: Path, tmp_path: Path) -> None:
    control = shutil.copytree(trained_runs / "enf_0", tmp_path / "runs" / "random")
    shutil.copytree(trained_runs / "pnao_0", control / "reference")
    assert [r.path for r in find_runs(tmp_path)] == [control]
    (control / "results.json").unlink()  # not finished, its reference is
    with pytest.raises(UserError, match="no finished run"):
        find_runs(tmp_path)


def test_missing_empty_and_broken_directories_are_named(trained_runs: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such directory"):
        find_runs(tmp_path / "nowhere")
    with pytest.raises(UserError, match="no finished run"):
        find_runs(tmp_path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("results.json", "{"),
        ("results.json", "[1]"),
        ("results.json", json.dumps({"experiment": "enf"})),
        ("predictions.csv", "utterance_id\n"),
        ("predictions.csv", None),
        ("config.yaml", "a: [1"),
        ("config.yaml", "just text"),
        ("config.yaml", None),
    ],
)
def test_a_broken_file_is_named(trained_runs: Path, tmp_path: Path, name: str, content: str | None) -> None:
    path = shutil.copytree(trained_runs / "enf_0", tmp_path / "run") / name
    if content is None:
        path.unlink()
    else:
        path.write_text(content)
    with pytest.raises(UserError, match=rf"{name}: (broken|cannot be read)"):
        read_run(path.parent)


def test_the_digits_of_predictions_csv_are_no_source_of_statistics(
    finished: list[FinishedRun], trained_runs: Path, tmp_path: Path
) -> None:
    runs = shutil.copytree(trained_runs, tmp_path / "runs")
    for path in runs.glob("*/predictions.csv"):
        rows = list(csv.DictReader(io.StringIO(path.read_text())))
        for row in rows:
            guessed = {k: "0.5" for k in row if k.startswith(("posterior_", "weight_", "predicted_valence"))}
            row |= guessed | {"predicted_emotion": "sad"}
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    (before,), (after,) = data_sets(finished), data_sets(find_runs(runs))
    assert comparisons(after) == comparisons(before)
    assert costs(before, "pnao") == costs(after, "pnao")
    for one, other in zip(*([s.runs[0] for s in data.systems] for data in (before, after)), strict=True):
        assert run_reliability(one)["fused"].ece == run_reliability(other)["fused"].ece


def cut_short(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def gone(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    path.unlink()


def another_order(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    save_file({name: tensor.flip(0).contiguous() for name, tensor in tensors.items()}, path)


def fewer(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    save_file({name: tensor[:-1].contiguous() for name, tensor in tensors.items()}, path)


def one_branch(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    mine = {n: t[:, :1].contiguous() for n, t in tensors.items() if n.startswith(("branch", "weights"))}
    save_file(tensors | mine, path)


@pytest.mark.parametrize("damage", [cut_short, gone, another_order, fewer, one_branch])
def test_damaged_decisions_are_named_in_one_line(
    trained_runs: Path, tmp_path: Path, damage: Callable[[Path, dict[str, torch.Tensor]], None]
) -> None:
    path = shutil.copytree(trained_runs / "enf_0", tmp_path / "run") / "decisions.safetensors"
    damage(path, load_file(path))
    with pytest.raises(UserError, match=r"decisions\.safetensors: cannot be read.*; delete results") as found:
        read_run(path.parent)
    assert "\n" not in str(found.value)


def test_gone_rounds_are_named(trained_runs: Path, tmp_path: Path) -> None:
    run = read_run(shutil.copytree(trained_runs / "pnao_0", tmp_path / "run"))
    shutil.rmtree(tmp_path / "run" / "fold_0" / "round_1")
    (tmp_path / "run" / "fold_1" / "round_2" / "held_out.safetensors").write_bytes(b"\0" * 20)
    for number in (1, 2):
        with pytest.raises(UserError, match=rf"round_{number}/held_out.safetensors: cannot be read"):
            at_round(run, number)
