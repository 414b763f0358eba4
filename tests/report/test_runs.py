"""Runs read as they were written, ordered into systems; broken ones named."""

import csv
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from mer_lightning.errors import UserError
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.report.calibration import run_reliability
from mer_lightning.report.pairs import clusters, comparisons, run_sums, sizes
from mer_lightning.report.pictures import weight_values
from mer_lightning.report.runs import TRAIN_VAL, FinishedRun, at_round, find_runs, read_run
from mer_lightning.report.statistics import scores
from mer_lightning.report.systems import data_sets


def recomputed(run: FinishedRun, part: str) -> list[float]:
    rows = run.rows(part)
    sums = run_sums(run, part, np.zeros(len(rows), dtype=np.int64))
    return list(scores(sums.confusion[0], sums.error[0], sums.labelled[0]))


def test_the_predictions_of_every_round_give_its_reported_scores(finished: list[FinishedRun]) -> None:
    for run in finished:
        for entry in run.results.rounds:
            there = at_round(run, entry.round)
            for part, reported in ((TRAIN_VAL, entry.validation), ("test", entry.test["test"])):
                assert recomputed(there, part) == pytest.approx(list(vars(reported).values()))
        best = at_round(run, run.results.best_round)
        assert all(map(torch.equal, best.decision, run.decision))


def test_runs_become_systems_in_the_papers_order(finished: list[FinishedRun]) -> None:
    (data,) = data_sets(finished[::-1])
    assert [s.label for s in data.systems] == ["baseline", "enf", "pnao"]
    assert all(s.seeds == [0, 1] for s in data.systems)
    assert data.parts == [TRAIN_VAL, "test"]
    assert data.headline == ("test", "com")
    assert not data.synthetic


def test_a_run_with_other_settings_is_another_system(trained_runs: Path, tmp_path: Path) -> None:
    for name in ("enf_0", "pnao_0", "pnao_1"):
        shutil.copytree(trained_runs / name, tmp_path / name)
    changed = shutil.copytree(trained_runs / "pnao_0", tmp_path / "rate")
    config = yaml.safe_load((changed / "config.yaml").read_text())
    config["pnao"]["rate"], config["folds"]["workers"] = 0.01, 7
    (changed / "config.yaml").write_text(yaml.safe_dump(config))
    (data,) = data_sets(find_runs(tmp_path))
    assert [s.label for s in data.systems] == ["enf", "pnao", "pnao (pnao.rate=0.01)"]
    compared = comparisons(data)
    assert {(c.first, c.second) for c in compared} == {("pnao", "enf")}
    assert {tuple(c.seeds) for c in compared} == {(0,)}
    assert compared[0].other_settings == []


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
    nobody = type(run)(**{**vars(run), "group": np.full(4, ""), "ids": np.array(list("wxyz"))})
    assert clusters(nobody, np.arange(4))[1] == "utterances"


def test_what_the_rounds_left_behind(finished: list[FinishedRun]) -> None:
    (data,) = data_sets(finished)
    pnao = data.system("pnao")
    assert pnao is not None
    steps = sizes(pnao, "test", "com")
    assert [s.round for s in steps] == [1, 2]
    assert steps[0].parameters_ratio > steps[1].parameters_ratio
    counts = [len(weight_values(pnao.runs[0], r)) for r in range(3)]
    assert counts[0] > counts[1] > counts[2]


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
    pnao = [data.system("pnao") for data in (before, after)]
    assert sizes(pnao[0], "test", "com") == sizes(pnao[1], "test", "com")  # type: ignore[arg-type]
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
