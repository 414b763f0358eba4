"""A whole small experiment: its files, its figures, and what happens when it is interrupted."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score

from mer_lightning import load
from mer_lightning.config import Config
from mer_lightning.crossval import Bench
from mer_lightning.errors import UserError
from mer_lightning.network.base import count_nodes, count_parameters
from mer_lightning.network.checkpoint import read_network
from mer_lightning.run_directory import RunDirectory
from mer_lightning.tasks import fit

Small = Callable[..., Config]


def without_timings(results: Any) -> Any:
    """The same without every ``seconds``."""
    if isinstance(results, dict):
        return {k: without_timings(v) for k, v in results.items() if k != "seconds"}
    return [without_timings(v) for v in results] if isinstance(results, list) else results


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def trained(config: Config, path: Path) -> RunDirectory:
    run = RunDirectory(path)
    fit.run(config, run)
    return run


def test_results_follow_the_contract(small: Small, tmp_path: Path) -> None:
    run = trained(small("+experiment=pnao", "pnao.rounds=2"), tmp_path / "run")
    results = run.read_results()
    assert results["schema"] == 1
    assert results["experiment"] == "pnao"
    assert results["data"]["levels"] == {"low": 6, "high": 5}
    assert results["data"]["shared"] == {"face": 4}
    assert results["data"]["n"] == {"test": 10, "train": 50}
    assert not results["data"]["synthetic"]
    assert [r["round"] for r in results["rounds"]] == [0, 1, 2]
    best = max(results["rounds"], key=lambda r: r["selection"])
    assert results["best_round"] == best["round"]
    assert results["validation"] == best["validation"]
    assert results["test"] == best["test"]
    rows = table(run.rounds)
    assert [int(r["parameters"]) for r in rows] == [r["parameters"] for r in results["rounds"]]
    assert rows[0]["test_test_com"] != ""
    parameters = [r["parameters"] for r in results["rounds"]]
    assert parameters[0] > parameters[1] > parameters[2]
    for r in results["rounds"]:
        assert r["compact_error"] < 1e-12
        networks = [read_network(run.round(f, r["round"]).network).network for f in range(2)]
        assert r["parameters"] == round(np.mean([count_parameters(n) for n in networks]))
        assert r["nodes"] == round(np.mean([count_nodes(n) for n in networks]))
        assert r["macs"] == round(np.mean([n.macs() for n in networks]))


def test_predictions_give_the_reported_scores_and_load_gives_the_predictions(
    small: Small, folder: Path, tmp_path: Path
) -> None:
    run = trained(small("+experiment=pnao"), tmp_path / "run")
    results, rows = run.read_results(), table(run.predictions)
    assert [r["utterance_id"] for r in rows] == [f"u{i:03d}" for i in range(60)]
    for split, scores in (("train", results["validation"]), ("test", results["test"]["test"])):
        part = [r for r in rows if r["split"] == split]
        dis = f1_score(
            [r["emotion"] for r in part], [r["predicted_emotion"] for r in part], average="weighted"
        )
        assert scores["dis"] == pytest.approx(dis)
        errors = [
            (float(r["valence"]) - float(r["predicted_valence"])) ** 2 for r in part if r["valence"] != ""
        ]
        assert scores["dim"] == pytest.approx(np.mean(errors), rel=1e-4)
        assert scores["com"] == pytest.approx(scores["dis"] - 0.25 * scores["dim"])
        assert {r["fold"] for r in part} == ({"0", "1"} if split == "train" else {""})
    features = {name: np.load(folder / f"{name}.npy") for name in ("low", "high", "face")}
    predictor = load(run.path)
    assert predictor.features == {"low": 6, "high": 5, "face": 4}
    prediction = predictor.predict(features)
    for i, row in enumerate(rows):
        if row["split"] == "test":
            assert row["predicted_emotion"] == prediction.emotion[i]
            assert float(row["predicted_valence"]) == pytest.approx(float(prediction.valence[i]), rel=1e-4)
            posterior = [float(row[f"posterior_{c}"]) for c in predictor.classes]
            np.testing.assert_allclose(posterior, prediction.posterior[i], atol=1e-5)
            weights = [float(row[f"weight_{level}"]) for level in ("low", "high")]
            np.testing.assert_allclose(weights, prediction.weights[i], atol=1e-5)
    alone = load(run.model, fold=1).predict(features)
    held_out = [i for i, r in enumerate(rows) if r["fold"] == "1"]
    for i in held_out:
        assert rows[i]["predicted_emotion"] == alone.emotion[i]


def test_the_same_seed_gives_the_same_results_and_another_does_not(small: Small, tmp_path: Path) -> None:
    runs = [
        trained(small("+experiment=pnao", f"seed={seed}", f"folds.workers={workers}"), tmp_path / name)
        for name, seed, workers in (("a", 0, 1), ("b", 0, 2), ("c", 1, 1))
    ]
    a, b, c = (without_timings(run.read_results()) for run in runs)
    assert a == b
    assert a["rounds"] != c["rounds"]
    assert runs[0].predictions.read_bytes() == runs[1].predictions.read_bytes()


def test_a_killed_run_continues_to_the_same_results(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small("+experiment=pnao")
    whole = without_timings(trained(config, tmp_path / "whole").read_results())
    run, train, calls = RunDirectory(tmp_path / "killed"), Bench.train, []

    def killed_at_fourth(self: Bench, fold: int, number: int) -> None:
        calls.append((fold, number))
        if len(calls) == 4:
            raise KeyboardInterrupt
        train(self, fold, number)

    monkeypatch.setattr(Bench, "train", killed_at_fourth)
    with pytest.raises(KeyboardInterrupt):
        fit.run(config, run)
    assert not run.finished
    left = sorted(p.name for p in run.path.glob("fold_*/*"))
    assert left == ["round_0", "round_0", "round_1"]
    fit.run(config, run)
    assert calls[4:] == [(1, 1), (0, 2), (1, 2)]
    assert without_timings(run.read_results()) == whole


def test_a_finished_run_is_left_alone_and_another_configuration_refused(small: Small, tmp_path: Path) -> None:
    run = trained(small("+experiment=enf"), tmp_path / "run")
    before = {p: p.stat().st_mtime_ns for p in run.path.rglob("*") if p.is_file() and p.name != ".lock"}
    fit.run(small("+experiment=enf"), run)
    with pytest.raises(UserError, match=r"another configuration \(seed: 0 there, 5 now\)"):
        fit.run(small("+experiment=enf", "seed=5"), run)
    assert before == {p: p.stat().st_mtime_ns for p in run.path.rglob("*") if p in before}


def test_a_second_process_in_one_directory_stops(small: Small, tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    with run.locked(), pytest.raises(UserError, match="another process"):
        fit.run(small("+experiment=enf"), run)


def test_rewinding_alone_prunes_nothing_but_trains_on(small: Small, tmp_path: Path) -> None:
    pnao = trained(small("+experiment=pnao", "pnao.rounds=1"), tmp_path / "pnao").read_results()
    only = trained(small("+experiment=rewind_only", "pnao.rate=0", "pnao.rounds=1"), tmp_path / "rewind")
    results = only.read_results()
    assert results["rounds"][0]["validation"] == pnao["rounds"][0]["validation"]
    assert results["rounds"][1]["parameters_ratio"] == 1
    assert results["rounds"][1]["validation"] != results["rounds"][0]["validation"]


def test_random_control_has_pnaos_sizes(small: Small, tmp_path: Path) -> None:
    pnao = trained(small("+experiment=pnao"), tmp_path / "pnao")
    control = trained(small("+experiment=random", f"pnao.like={pnao.path}"), tmp_path / "random")
    mine, theirs = control.read_results(), pnao.read_results()
    for a, b in zip(mine["rounds"], theirs["rounds"], strict=True):
        assert (a["parameters"], a["nodes"]) == (b["parameters"], b["nodes"])
    assert mine["rounds"][0]["validation"] == theirs["rounds"][0]["validation"]
    assert mine["rounds"][1]["validation"] != theirs["rounds"][1]["validation"]


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
    assert [r["round"] for r in mine["rounds"]] == [0, 1]
    assert mine["rounds"][1]["parameters"] == theirs["rounds"][theirs["best_round"]]["parameters"]


def test_a_control_refuses_a_reference_of_another_experiment(small: Small, tmp_path: Path) -> None:
    pnao = trained(small("+experiment=pnao", "pnao.rounds=0", "seed=3"), tmp_path / "pnao")
    with pytest.raises(UserError, match="not the same experiment"):
        fit.run(small("+experiment=random", f"pnao.like={pnao.path}"), RunDirectory(tmp_path / "random"))


def test_carried_moments_change_the_next_round(small: Small, tmp_path: Path) -> None:
    carry = trained(small("+experiment=pnao", "pnao.optimiser=carry"), tmp_path / "carry").read_results()
    reset = trained(small("+experiment=pnao"), tmp_path / "reset").read_results()
    assert carry["rounds"][0]["validation"] == reset["rounds"][0]["validation"]
    assert carry["rounds"][1]["parameters"] == reset["rounds"][1]["parameters"]
    assert carry["rounds"][1]["validation"] != reset["rounds"][1]["validation"]


def test_rewind_epoch_shortens_later_rounds(small: Small, tmp_path: Path) -> None:
    results = trained(small("+experiment=pnao", "pnao.rewind_epoch=2"), tmp_path / "run").read_results()
    assert [r["epochs"] for r in results["rounds"]] == [[3, 3], [1, 1], [1, 1]]


def test_nested_protocol_stops_on_another_fold(small: Small, tmp_path: Path) -> None:
    config = small("+experiment=enf", "protocol=nested", "data.folds=3")
    run = trained(config, tmp_path / "run")
    from mer_lightning.pnao.outcome import read_predictions

    for fold in range(3):
        folder = run.round(fold, 0)
        held_out = set(read_predictions(folder, "held_out").rows.tolist())
        stopping = set(read_predictions(folder, "stopping").rows.tolist())
        assert not held_out & stopping
        following = set(read_predictions(run.round((fold + 1) % 3, 0), "held_out").rows.tolist())
        assert stopping == following


def test_a_damaged_network_is_noticed(small: Small, tmp_path: Path) -> None:
    run = trained(small("+experiment=enf"), tmp_path / "run")
    path = run.model / "fold_0.safetensors"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"fold_0\.safetensors: damaged"):
        load(run.path)
    shutil.rmtree(run.model)
    with pytest.raises(UserError, match="no model here"):
        load(run.path)


def test_predict_says_what_is_wrong(small: Small, tmp_path: Path) -> None:
    predictor = load(trained(small("+experiment=enf"), tmp_path / "run").path)
    good = {name: np.zeros((2, d), dtype=np.float32) for name, d in predictor.features.items()}
    assert len(predictor.predict(good).emotion) == 2
    with pytest.raises(UserError, match="needs the feature set 'face'"):
        predictor.predict({k: v for k, v in good.items() if k != "face"})
    with pytest.raises(UserError, match=r"expected shape \(B, 6\), found \(2, 7\)"):
        predictor.predict(good | {"low": np.zeros((2, 7))})
    with pytest.raises(UserError, match=r"NaN or infinity in row 1 .* of 'low'"):
        predictor.predict(good | {"low": np.array([[np.nan] * 6, [np.nan] * 5 + [0]])})


def test_without_valence_dis_is_monitored(small: Small, folder: Path, tmp_path: Path) -> None:
    labels = folder / "labels.csv"
    rows = [line.split(",") for line in labels.read_text().splitlines()]
    labels.write_text("\n".join(",".join(c for i, c in enumerate(r) if i != 2) for r in rows) + "\n")
    run = trained(small("+experiment=pnao"), tmp_path / "run")
    results = run.read_results()
    assert results["validation"]["dim"] is None
    assert results["validation"]["com"] is None
    assert json.loads(run.round(0, 0).record.read_text())["deltas"][1] == 1.0  # untouched
    assert torch.isfinite(
        torch.tensor(
            load(run.path)
            .predict({name: np.load(folder / f"{name}.npy") for name in ("low", "high", "face")})
            .posterior
        )
    ).all()


def test_without_guards_emptied_encoders_are_named_and_the_run_goes_on(
    small: Small, folder: Path, tmp_path: Path
) -> None:
    config = small("+experiment=pnao", "pnao.guard=none", "pnao.rate=0.97", "pnao.rounds=3")
    run = trained(config, tmp_path / "run")
    results = run.read_results()
    notes = [note for r in results["rounds"] for note in r["notes"]]
    assert any("has no node left" in note for note in notes)
    assert results["rounds"][-1]["nodes"] < 4
    assert all(r["compact_error"] < 1e-12 for r in results["rounds"])
    features = {name: np.load(folder / f"{name}.npy") for name in ("low", "high", "face")}
    assert np.isfinite(load(run.path).predict(features).posterior).all()


def test_a_loss_that_is_no_number_stops_with_advice(small: Small, tmp_path: Path) -> None:
    config = small("+experiment=enf", "trainer.learning_rate=1e30")
    with pytest.raises(UserError, match=r"fold 0, round 0: .* of epoch \d+: lower trainer.learning_rate"):
        fit.run(config, RunDirectory(tmp_path / "run"))
    assert not (tmp_path / "run" / "fold_0" / "round_0").exists()


def unfinish(run: RunDirectory) -> None:
    """As if the run had been killed before its last round."""
    run.results.unlink()
    shutil.rmtree(run.path / "fold_1" / "round_1")


@pytest.mark.parametrize("precision", ["64-true", "bf16-mixed"])
def test_every_precision_trains_prunes_and_loads(
    small: Small, folder: Path, tmp_path: Path, precision: str
) -> None:
    run = trained(small("+experiment=pnao", f"trainer.precision={precision}"), tmp_path / "run")
    assert run.read_results()["rounds"][1]["compact_error"] < 1e-12
    features = {name: np.load(folder / f"{name}.npy") for name in ("low", "high", "face")}
    assert np.isfinite(load(run.path).predict(features).posterior).all()


def test_data_that_changed_are_not_trained_on(small: Small, folder: Path, tmp_path: Path) -> None:
    config = small("+experiment=pnao", "pnao.rounds=1")
    run = trained(config, tmp_path / "run")
    unfinish(run)
    labels = folder / "labels.csv"
    head, *rows = labels.read_text().splitlines()
    labels.write_text("\n".join([head, *rows[::-1]]) + "\n")
    with pytest.raises(UserError, match="the labels are not those"):
        fit.run(config, run)
    labels.write_text("\n".join([head, *rows]) + "\n")
    np.save(folder / "face.npy", np.load(folder / "face.npy") + 1)
    with pytest.raises(UserError, match="feature set 'face' are not those"):
        fit.run(config, run)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("config.yaml", "[1, 2]", "choose another hydra.run.dir"),
        ("config.yaml", "a: [", "choose another hydra.run.dir"),
        ("data.json", "{", "choose another hydra.run.dir"),
        ("folds.csv", "utterance_id,fold\nu000,", "start a new run"),
    ],
)
def test_damaged_files_of_a_run_are_named(
    small: Small, tmp_path: Path, name: str, content: str, says: str
) -> None:
    config = small("+experiment=pnao", "pnao.rounds=1")
    run = trained(config, tmp_path / "run")
    unfinish(run)
    (run.path / name).write_text(content)
    with pytest.raises(UserError, match=Path(name).name) as raised:
        fit.run(config, run)
    assert says in str(raised.value)


def test_a_damaged_results_file_is_named(small: Small, tmp_path: Path) -> None:
    run = trained(small("+experiment=enf"), tmp_path / "run")
    for content in ("{", "{}", "[]"):
        run.results.write_text(content)
        with pytest.raises(UserError, match=r"results\.json: cannot be read"):
            fit.run(small("+experiment=enf"), run)


def test_decisions_that_are_no_numbers_are_not_taken_for_missing_labels(small: Small, tmp_path: Path) -> None:
    config = small(
        "+experiment=enf", "trainer.epochs=1", "trainer.learning_rate=1e30", "trainer.batch_size=999"
    )
    with pytest.raises(UserError, match=r"decisions became NaN"):
        fit.run(config, RunDirectory(tmp_path / "run"))


def test_nested_needs_three_folds_and_every_stopping_fold_an_emotion(
    small: Small, folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="three folds"):
        fit.run(small("+experiment=enf", "protocol=nested"), RunDirectory(tmp_path / "two"))
    assert not (tmp_path / "two" / "config.yaml").exists()  # so that the mended command may go there
    labels = folder / "labels.csv"
    rows = [line.split(",") for line in labels.read_text().splitlines()]
    numbered = [[*rows[0], "fold"]] + [
        [r[0], "" if i % 3 == 0 else r[1], *r[2:], str(i % 3)] for i, r in enumerate(rows[1:])
    ]
    labels.write_text("\n".join(map(",".join, numbered)) + "\n")
    with pytest.raises(UserError, match="fold 0: no emotion is known"):
        fit.run(small("+experiment=enf", "data.folds=column"), RunDirectory(tmp_path / "run"))


def test_no_pickle_stays_and_others_may_read(small: Small, tmp_path: Path) -> None:
    run = trained(small("+experiment=enf"), tmp_path / "run")
    assert not list(run.path.rglob("*.ckpt"))
    for path in run.path.rglob("*.safetensors"):
        assert path.stat().st_mode & 0o044 == 0o044
