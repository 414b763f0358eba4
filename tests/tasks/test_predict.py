"""A finished run at work on stores, folders and clips."""

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mer_lightning import load
from mer_lightning.data.readers.store import write_store
from mer_lightning.errors import UserError
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.results.predictor import Predictor
from mer_lightning.tasks import fit, predict
from tests.conftest import SMALL, composed
from tests.tasks.predictions import (
    EXTRACTORS,
    FACE,
    LOW,
    Finished,
    check_same,
    predicted,
    table,
    write_features,
)


def test_a_runs_own_store_gives_its_test_figures_again(finished: Finished, tmp_path: Path) -> None:
    run, store, corpus = finished
    rows = predicted(run, store, tmp_path / "out.csv")
    known = table(run.predictions)
    columns = [name for name in known[0] if name.startswith(("predicted_", "posterior_", "weight_"))]
    assert list(rows[0]) == ["utterance_id", *columns, "missing"]
    tests = [i for i, row in enumerate(known) if row["split"] == "test"]
    assert {5, 11} <= set(tests)  # some of them lack a feature set
    check_same([rows[i] for i in tests], [known[i] for i in tests])
    assert [row["utterance_id"] for row in rows] == [u.id for u in corpus.utterances]
    for i, row in enumerate(rows):
        assert row["missing"].split() == ["low"] * (i in LOW) + ["face"] * (i in FACE)
    assert [p.name for p in tmp_path.iterdir()] == ["out.csv"]


@pytest.mark.parametrize("fold", [0, 1])
def test_one_folds_network_gives_its_held_out_figures_again(
    finished: Finished, tmp_path: Path, fold: int
) -> None:
    rows = predicted(finished.run, finished.store, tmp_path / "out.csv", f"model.fold={fold}")
    known = table(finished.run.predictions)
    held_out = [i for i, row in enumerate(known) if row["fold"] == str(fold)]
    check_same([rows[i] for i in held_out], [known[i] for i in held_out])


def test_blocks_of_a_memory_map_give_the_same_table(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = predicted(finished.run, finished.store, tmp_path / "whole.csv")
    seen: list[Any] = []
    ask = Predictor.decide

    def watched(self: Predictor, features: Mapping[str, Any]) -> Any:
        seen.extend(features.values())
        return ask(self, features)

    monkeypatch.setattr(Predictor, "decide", watched)
    monkeypatch.setattr(predict, "BLOCK", 7)
    check_same(predicted(finished.run, finished.store, tmp_path / "b.csv", "data.resident_gb=0"), whole)
    assert seen
    assert all(isinstance(array, np.memmap) and len(array) <= 7 for array in seen)


def test_training_learnt_the_extractors_and_both_kinds_of_store_give_the_same_run(
    finished: Finished, tmp_path: Path
) -> None:
    assert load(finished.run.path).extractors == EXTRACTORS | {"high": {}}
    mapped = RunDirectory(tmp_path / "mapped")
    settings = ("data=store", f"data.root={finished.store}", "data.folds=2", *SMALL, "pnao.rounds=0")
    fit.run(composed("+experiment=pnao", *settings, "data.resident_gb=0"), mapped)
    check_same(table(mapped.predictions), table(finished.run.predictions))


@pytest.mark.parametrize(
    ("tables", "first"),
    [
        ({"labels.csv": "utterance_id,valence\n"}, "clip 0"),
        ({"clips.csv": "seconds,utterance_id\n"}, "clip 0"),
        ({"labels.csv": "utterance_id,emotion\n", "clips.csv": "utterance_id\n"}, "clip 0"),
        ({"old.csv": "utterance_id,predicted_emotion\n", "notes.csv": "author,text\n"}, "row_0"),
        ({}, "row_0"),
    ],
)
def test_a_folder_needs_no_labels(
    finished: Finished, tmp_path: Path, tables: dict[str, str], first: str
) -> None:
    folder = write_features(tmp_path / "features", finished.corpus.features)
    for name, header in tables.items():
        cells = [
            ",".join(f"clip {i}" if c == "utterance_id" else "" for c in header.strip().split(","))
            for i in range(60)
        ]
        (folder / name).write_text(header + "\n".join(cells) + "\n")
    rows = predicted(finished.run, folder, tmp_path / "folder.csv")
    assert [row["utterance_id"] for row in rows] == [first[:-1] + str(i) for i in range(60)]
    own = predicted(finished.run, finished.store, tmp_path / "store.csv")
    check_same([row | {"utterance_id": ""} for row in rows], [row | {"utterance_id": ""} for row in own])


def test_clips_are_extracted_as_the_model_needs(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Any] = []

    def features_of_clips(path: Path, needed: Mapping[str, Any], settings: Any) -> Any:
        asked.extend([path, needed, settings])
        features = {name: finished.corpus.features[name][:3] for name in ("low", "high")}  # no face at all
        return SimpleNamespace(ids=["a", "[b]", "c"], features=features, failures=[("d", "cut short")])

    stub = SimpleNamespace(features_of_clips=features_of_clips)
    monkeypatch.setitem(sys.modules, "mer_lightning.extract.pipeline", stub)
    clips = tmp_path / "clips"
    clips.mkdir()
    rows = predicted(finished.run, clips, tmp_path / "out.csv")
    assert asked[:2] == [clips, EXTRACTORS | {"high": {}}]
    assert asked[2].hubert.layers == [18, 19, 20]
    assert [row["utterance_id"] for row in rows] == ["a", "[b]", "c"]
    assert [row["missing"] for row in rows] == ["face", "low face", "face"]
    shown = capsys.readouterr().out
    assert "failed: d: cut short" in shown
    assert "[b]" in shown
    assert "3 of 3 utterances lack feature sets" in shown


def test_the_screen_shows_the_first_and_counts_them_all(
    finished: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = predicted(finished.run, finished.store, tmp_path / "out.csv")
    lines = capsys.readouterr().out.splitlines()
    shown = [line.split() for line in lines if line.split()[:1] and line.split()[0].startswith("u0")]
    assert [s[0] for s in shown] == [row["utterance_id"] for row in rows[:20]]
    for cells, row in zip(shown, rows, strict=False):
        posterior = {k.removeprefix("posterior_"): float(v) for k, v in row.items() if "posterior_" in k}
        weights = {k.removeprefix("weight_"): float(v) for k, v in row.items() if "weight_" in k}
        assert cells[1] == row["predicted_emotion"] == max(posterior, key=lambda c: posterior[c])
        assert float(cells[2]) == pytest.approx(max(posterior.values()), abs=0.006)
        assert float(cells[3]) == pytest.approx(float(row["predicted_valence"]), abs=0.006)
        assert cells[4] == max(weights, key=lambda v: weights[v])
        assert float(cells[5]) == pytest.approx(max(weights.values()), abs=0.006)
    (counts,) = [line for line in lines if "40 more" in line]
    for emotion in {row["predicted_emotion"] for row in rows}:
        assert f"{emotion} {sum(row['predicted_emotion'] == emotion for row in rows)}" in counts
    assert lines[-1] == f"predictions {tmp_path / 'out.csv'}"


def test_a_model_without_valence_leaves_it_empty(finished: Finished, tmp_path: Path) -> None:
    labels = [
        u._replace(valence=float("nan") if u.split == "train" else 1.0) for u in finished.corpus.utterances
    ]
    store = write_store(replace(finished.corpus, utterances=tuple(labels)), tmp_path / "store")
    run = RunDirectory(tmp_path / "run")
    settings = ("data=store", f"data.root={store}", "data.folds=2", *SMALL)
    fit.run(composed("+experiment=enf", *settings), run)
    assert not load(run.path).has_valence
    assert load(finished.run.path).has_valence
    rows = predicted(run, store, tmp_path / "out.csv")
    assert {row["predicted_valence"] for row in rows} == {""}
    assert all(float(row["posterior_sad"]) >= 0 for row in rows)


def test_a_set_that_is_not_there_must_be_said_and_is_told(finished: Finished, tmp_path: Path) -> None:
    corpus = finished.corpus
    source = write_features(tmp_path / "in", {n: corpus.features[n] for n in ("low", "high")})
    rows = predicted(finished.run, source, tmp_path / "out.csv", "model.without=[face]")
    features = corpus.features | {"face": np.full_like(corpus.features["face"], np.nan)}
    expected = load(finished.run.path).predict(features)
    assert [row["predicted_emotion"] for row in rows] == expected.emotion
    assert [row["missing"] for row in rows] == ["low face" if i in LOW else "face" for i in range(len(rows))]
    with pytest.raises(UserError, match="face"):
        predicted(finished.run, source, tmp_path / "other.csv")
    with pytest.raises(UserError, match="task=predict and evaluate, not task=export"):
        composed("task=export", "model=x", "output=y", "model.without=[face]")
