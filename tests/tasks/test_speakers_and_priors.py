"""A model that standardises by speaker, and posteriors under other priors, from training to prediction."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mer_lightning import load
from mer_lightning.data.readers.registry import read_corpus
from mer_lightning.data.readers.store import write_store
from mer_lightning.data.standardise import by_speaker
from mer_lightning.errors import UserError
from mer_lightning.export.module import export
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.report.runs import at_round, read_run
from mer_lightning.results.card import card
from mer_lightning.tasks import evaluate, fit
from tests.conftest import SMALL, composed, folder_overrides, write_folder
from tests.tasks.predictions import check_same, predicted, table, write_features

GIVEN = {"angry": 1, "happy": 2, "sad": 5}
PRIORS = "priors={angry: 1, happy: 2, sad: 5}"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("speakers") / "data")


@pytest.fixture(scope="module")
def run(data: Path) -> RunDirectory:
    """Standardised by speaker, the test set under given priors."""
    run = RunDirectory(data.parent / "run")
    settings = (*folder_overrides(data), *SMALL, "pnao.rounds=0", "data.standardise=speaker", PRIORS)
    fit.run(composed("+experiment=enf", *settings), run)
    return run


def with_splits(path: Path, split: str) -> list[dict[str, str]]:
    return [row for row in table(path) if row["split"] == split]


def test_features_are_needed_with_their_speakers(run: RunDirectory, data: Path, tmp_path: Path) -> None:
    corpus = read_corpus(composed(*folder_overrides(data)).data)
    store = write_store(corpus, tmp_path / "store")
    known = with_splits(run.predictions, "train")
    speakers = [u.group for u in corpus.utterances]
    made = by_speaker(corpus.features, speakers, "")
    bare = write_features(tmp_path / "bare", corpus.features)
    for fold in ("0", "1"):  # its held-out figures again
        held_out = [row for row in known if row["fold"] == fold]
        for source in (data, store):
            rows = {
                r["utterance_id"]: r
                for r in predicted(run, source, tmp_path / "out.csv", f"model.fold={fold}")
            }
            check_same([rows[row["utterance_id"]] for row in held_out], held_out)
    predictor = load(run.path)
    expected = replace(predictor, standardise="train").predict(made)
    found = predictor.predict(corpus.features, speakers)
    np.testing.assert_array_equal(found.posterior, expected.posterior)
    with pytest.raises(UserError, match=r"no speaker is known here.*data\.standardise=train"):
        predictor.predict(corpus.features)
    with pytest.raises(UserError, match="no speaker is known here"):
        predicted(run, bare, tmp_path / "out.csv")
    with pytest.raises(UserError, match="has no speaker"):
        predictor.predict(corpus.features, ["", *speakers[1:]])
    clip = tmp_path / "clip.mp4"
    clip.touch()
    with pytest.raises(UserError, match="no speaker is known here"):
        predicted(run, clip, tmp_path / "out.csv")
    with pytest.raises(UserError, match=r"each clip alone; export.*data\.standardise=train"):
        export(predictor, {}, tmp_path / "x.onnx", "onnx")
    told = card(
        run.read_results(), predictor.features, {}, license="mit", language=[], address="x", by_speaker=True
    )
    assert "predict(features, speakers)" in told


def test_priors_are_applied_to_the_test_set_alone_and_said(
    run: RunDirectory, data: Path, tmp_path: Path
) -> None:
    results = run.read_results()
    assert results.priors == {"test": {"angry": 0.125, "happy": 0.25, "sad": 0.625}}
    assert "priors angry 0.125, happy 0.250, sad 0.625" in run.report.read_text(encoding="utf-8")
    corpus = read_corpus(composed(*folder_overrides(data), "data.standardise=speaker").data)
    predictor = replace(load(run.path), standardise="train")
    rows = corpus.rows(["test"])
    plain = predictor.predict({name: x[rows] for name, x in corpus.features.items()}).posterior
    train = corpus.emotions[corpus.rows(["train"])]
    trained = np.bincount(train) / len(train)
    np.testing.assert_allclose(predictor.trained_priors, trained, rtol=1e-6)
    shifted = plain * np.array(list(GIVEN.values())) / trained
    shifted /= shifted.sum(axis=1, keepdims=True)
    told = with_splits(run.predictions, "test")
    found = [[float(row[f"posterior_{name}"]) for name in GIVEN] for row in told]
    np.testing.assert_allclose(found, shifted, atol=1e-5)
    with pytest.raises(UserError, match="of its chosen round alone"):
        at_round(read_run(run.path), 0)
    again = {r["utterance_id"]: r for r in predicted(run, data, tmp_path / "out.csv", PRIORS)}
    check_same([again[row["utterance_id"]] for row in told], told)


def test_em_estimates_them_from_what_is_decided_on(run: RunDirectory, data: Path, tmp_path: Path) -> None:
    settings = ("task=evaluate", f"model={run.path}", *folder_overrides(data), "priors=em")
    evaluate.run(composed(*settings, f"output={tmp_path / 'out'}"), RunDirectory(tmp_path / "out"))
    priors = json.loads((tmp_path / "out" / "evaluation.json").read_text())["priors"]
    with (tmp_path / "out" / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    for name, prior in priors.items():  # where EM ends: the priors are the posteriors' mean
        assert np.mean([float(row[f"posterior_{name}"]) for row in rows]) == pytest.approx(prior, abs=1e-4)
    assert "Posteriors are for the priors angry" in (tmp_path / "out" / "index.html").read_text()
    check_same(predicted(run, data, tmp_path / "out.csv", "priors=em"), rows)


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["priors=ml"], "priors=ml: expected em, or"),
        (["priors={angry: 0}"], "a number above 0"),
        (["priors=em", "combine.of=levels"], "without combine"),
        (["priors=em", "task=export", "model=x", "output=y"], "leave them out"),
    ],
)
def test_priors_that_cannot_be_meant_are_refused(data: Path, overrides: list[str], says: str) -> None:
    with pytest.raises(UserError, match=says):
        composed(*folder_overrides(data), *overrides)


def test_priors_name_the_emotions(run: RunDirectory, data: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'fear': expected a number for each of angry, happy, sad"):
        predicted(run, data, tmp_path / "out.csv", "priors={angry: 1, happy: 2, sad: 5, fear: 1}")
