"""A whole small experiment: its files, its figures, and what happens when it is interrupted."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score

from mer_lightning import load
from mer_lightning.errors import UserError
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.model.base import count_nodes, count_parameters
from mer_lightning.model.checkpoint import read_network
from mer_lightning.report.runs import read_run
from mer_lightning.tasks import fit
from tests.tasks.helpers import Small, table, trained, without_timings


def test_results_follow_the_contract(small: Small, tmp_path: Path) -> None:
    run = trained(small("+experiment=pnao", "pnao.rounds=2"), tmp_path / "run")
    results = run.read_results()
    assert results.schema == 1
    assert results.experiment == "pnao"
    assert results.data.levels == {"low": 6, "high": 5}
    assert results.data.shared == {"face": 4}
    assert results.data.n == {"test": 10, "train": 50}
    assert not results.data.synthetic
    assert [r.round for r in results.rounds] == [0, 1, 2]
    best = max(results.rounds, key=lambda r: r.selection)
    assert results.best_round == best.round
    assert results.validation == best.validation
    assert results.test == best.test
    rows = table(run.rounds)
    assert [int(r["parameters"]) for r in rows] == [r.parameters for r in results.rounds]
    assert rows[0]["test_test_com"] != ""
    parameters = [r.parameters for r in results.rounds]
    assert parameters[0] > parameters[1] > parameters[2]
    for r in results.rounds:
        assert r.compact_error < 1e-5
        networks = [read_network(run.round(f, r.round).network).network for f in range(2)]
        assert r.parameters == round(np.mean([count_parameters(n) for n in networks]))
        assert r.nodes == round(np.mean([count_nodes(n) for n in networks]))
        assert r.macs == round(np.mean([n.macs() for n in networks]))
        widths = [n.architecture.widths for n in networks]
        assert r.widths == {group: [w[group] for w in widths] for group in widths[0]}


def test_predictions_give_the_reported_scores_and_load_gives_the_predictions(
    small: Small, folder: Path, tmp_path: Path
) -> None:
    run = trained(small("+experiment=pnao"), tmp_path / "run")
    results, rows = run.read_results(), table(run.predictions)
    assert [r["utterance_id"] for r in rows] == [f"u{i:03d}" for i in range(60)]
    for split, scores in (("train", results.validation), ("test", results.test["test"])):
        part = [r for r in rows if r["split"] == split]
        dis = f1_score(
            [r["emotion"] for r in part], [r["predicted_emotion"] for r in part], average="weighted"
        )
        assert scores.dis == pytest.approx(dis)
        errors = [
            (float(r["valence"]) - float(r["predicted_valence"])) ** 2 for r in part if r["valence"] != ""
        ]
        assert scores.dim == pytest.approx(np.mean(errors), rel=1e-4)
        assert scores.com == pytest.approx(scores.dis - 0.25 * scores.dim)
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
    assert a.rounds != c.rounds
    assert runs[0].predictions.read_bytes() == runs[1].predictions.read_bytes()


def test_nested_protocol_stops_on_another_fold(small: Small, tmp_path: Path) -> None:
    config = small("+experiment=enf", "protocol=nested", "data.folds=3")
    run = trained(config, tmp_path / "run")
    from mer_lightning.training.outcome import read_part

    for fold in range(3):
        folder = run.round(fold, 0)
        held_out = set(read_part(folder, "held_out", 60).rows.tolist())
        stopping = set(read_part(folder, "stopping", 60).rows.tolist())
        assert not held_out & stopping
        following = set(read_part(run.round((fold + 1) % 3, 0), "held_out", 60).rows.tolist())
        assert stopping == following


def test_the_fixed_protocol_trains_one_network_and_scores_the_test_set_once(
    small: Small, folder: Path, tmp_path: Path
) -> None:
    labels = folder / "labels.csv"
    lines = [line.split(",") for line in labels.read_text().splitlines()]
    for i, cells in enumerate(lines[1:]):
        cells[3] = "val" if i % 6 == 4 else cells[3]
    labels.write_text("\n".join(map(",".join, lines)) + "\n")
    run = trained(small("+experiment=pnao", "protocol=fixed"), tmp_path / "run")
    results, rows = run.read_results(), table(run.predictions)
    assert (results.folds, results.protocol, results.single) == (1, "fixed", {})
    assert [bool(r.test) for r in results.rounds] == [r is results.best for r in results.rounds]
    assert results.test == results.best.test
    assert [p.name for p in sorted(run.path.glob("fold_*"))] == ["fold_0"]
    assert [r["utterance_id"] for r in rows] == [f"u{i:03d}" for i in range(60)]
    for split, scores in (("val", results.validation), ("test", results.test["test"])):
        part = [r for r in rows if r["split"] == split]
        pair = [r["emotion"] for r in part], [r["predicted_emotion"] for r in part]
        assert scores.dis == pytest.approx(f1_score(*pair, average="weighted"))
        known = [r for r in part if r["valence"]]
        errors = [(float(r["valence"]) - float(r["predicted_valence"])) ** 2 for r in known]
        training = [float(r["valence"]) for r in rows if r["split"] == "train" and r["valence"]]
        constant = [(float(r["valence"]) - np.mean(training)) ** 2 for r in known]
        assert scores.skill == pytest.approx(1 - np.mean(errors) / np.mean(constant), abs=1e-4)
    finished = read_run(run.path)
    assert {finished.split[row] for row in finished.rows("Train&Val")} == {"val"}
    page = run.report.read_text()
    assert "val UAR" in page
    assert "Train&amp;Val" not in page
    with pytest.raises(UserError, match=r"combine.weights=fitted needs predictions out of fold"):
        small("+experiment=final", "protocol=fixed")


def test_the_scores_of_single_networks_are_those_of_their_predictions(
    small: Small, folder: Path, tmp_path: Path
) -> None:
    run = trained(small("+experiment=enf"), tmp_path / "run")
    features = {name: np.load(folder / f"{name}.npy") for name in ("low", "high", "face")}
    test = [i for i, row in enumerate(table(run.predictions)) if row["split"] == "test"]
    truth = [table(run.predictions)[i]["emotion"] for i in test]
    dis = []
    for fold in range(2):
        said = load(run.path, fold=fold).predict(features).emotion
        dis.append(f1_score(truth, [said[i] for i in test], average="weighted"))
    single = run.read_results().single["test"]
    assert single["dis"].mean == pytest.approx(np.mean(dis))
    assert single["dis"].deviation == pytest.approx(np.std(dis, ddof=1))
    assert f"{np.mean(dis):.4f} ± {np.std(dis, ddof=1):.4f}" in run.report.read_text()


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
    assert results.validation.dim is None
    assert results.validation.com is None
    assert {row["predicted_valence"] for row in table(run.predictions)} == {""}
    with pytest.raises(UserError, match=r"trainer.monitor=com: fold 0 has no known valence"):
        trained(small("+experiment=pnao", "trainer.monitor=com"), tmp_path / "com")
    assert json.loads(run.round(0, 0).record.read_text())["record"]["deltas"][1] == 1.0  # untouched
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
    config = small("+experiment=pnao_paper", "pnao.rate=0.97", "pnao.rounds=3")
    run = trained(config, tmp_path / "run")
    results = run.read_results()
    notes = [note for r in results.rounds for note in r.notes]
    assert any("no node is left" in note for note in notes)
    assert results.rounds[-1].nodes < 4
    assert all(r.compact_error < 1e-5 for r in results.rounds)
    features = {name: np.load(folder / f"{name}.npy") for name in ("low", "high", "face")}
    assert np.isfinite(load(run.path).predict(features).posterior).all()


def test_a_loss_that_is_no_number_stops_with_advice(small: Small, tmp_path: Path) -> None:
    config = small("+experiment=enf", "trainer.learning_rate=1e30")
    with pytest.raises(UserError, match=r"fold 0, round 0: .* of epoch \d+: lower trainer.learning_rate"):
        fit.run(config, RunDirectory(tmp_path / "run"))
    assert not (tmp_path / "run" / "fold_0" / "round_0").exists()


@pytest.mark.parametrize("precision", ["64-true", "bf16-mixed"])
def test_every_precision_trains_prunes_and_loads(
    small: Small, folder: Path, tmp_path: Path, precision: str
) -> None:
    run = trained(small("+experiment=pnao", f"trainer.precision={precision}"), tmp_path / "run")
    assert run.read_results().rounds[1].compact_error < 1e-5
    features = {name: np.load(folder / f"{name}.npy") for name in ("low", "high", "face")}
    assert np.isfinite(load(run.path).predict(features).posterior).all()


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
