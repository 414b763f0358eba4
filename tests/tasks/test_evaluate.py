"""``task=evaluate``: a trained model on other labelled data."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import f1_score, recall_score

from mer_lightning.data.readers.registry import read_corpus
from mer_lightning.errors import UserError
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.results.evaluation import evaluate as evaluation
from mer_lightning.results.predictor import load
from mer_lightning.tasks import evaluate
from tests.conftest import composed, write_folder
from tests.tasks.predictions import Finished

NAMES = {"angry": "cross", "happy": "happy", "sad": "gloomy"}


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """Another data set, whose emotions are called otherwise, and with one that the model does not know."""
    folder = write_folder(tmp_path / "other", seed=5)
    text = (folder / "labels.csv").read_text(encoding="utf-8").splitlines()
    renamed = [",".join(NAMES.get(cell, cell) for cell in line.split(",")) for line in text]
    renamed[1] = renamed[1].replace(renamed[1].split(",")[1], "bored")
    (folder / "labels.csv").write_text("\n".join(renamed) + "\n", encoding="utf-8")
    return folder


def evaluated(finished: Finished, data: Path, output: Path, *more: str) -> None:
    levels = ("data.levels=[low,high]", "data.shared=[face]")
    task = (
        "task=evaluate",
        f"model={finished.run.path}",
        f"output={output}",
        "data=folder",
        f"data.root={data}",
    )
    evaluate.run(composed(*task, *levels, *more), RunDirectory(output))


def test_scores_are_those_of_the_predictions(finished: Finished, other: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    evaluated(finished, other, output, "evaluate.map={cross: angry, gloomy: sad}")
    found = json.loads((output / "evaluation.json").read_text(encoding="utf-8"))
    labels = list(csv.DictReader((other / "labels.csv").open(encoding="utf-8")))
    back = {"cross": "angry", "gloomy": "sad", "happy": "happy"}
    true = [back.get(row["emotion"], "") for row in labels]
    features = {name: np.load(other / f"{name}.npy") for name in ("low", "high", "face")}
    predicted = load(finished.run.path).predict(features).emotion
    pairs = [(t, p) for t, p in zip(true, predicted, strict=True) if t]
    expected = f1_score(*zip(*pairs, strict=True), average="weighted")
    assert found["scores"]["dis"] == pytest.approx(expected)
    assert found["scores"]["uar"] == pytest.approx(recall_score(*zip(*pairs, strict=True), average="macro"))
    assert found["unmapped"] == {"bored": 1}
    assert found["splits"].keys() == {"train", "test"}
    rows = list(csv.DictReader((output / "predictions.csv").open(encoding="utf-8")))
    assert [row["predicted_emotion"] for row in rows] == predicted
    assert len((output / "groups.csv").read_text(encoding="utf-8").splitlines()) == 13
    page = (output / "index.html").read_text(encoding="utf-8")
    assert "bored" in page
    assert {p.name for p in (output / "figures").iterdir()} == {"confusion.png", "calibration.png"}
    evaluated(finished, other, output, "evaluate.map={cross: angry, gloomy: sad}")  # takes the older's place


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ("{crass: angry}", "no label is 'crass'"),
        ("{cross: furious}", "the model knows angry, happy, sad"),
    ],
)
def test_a_wrong_map_is_refused(
    finished: Finished, other: Path, tmp_path: Path, mapping: str, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        evaluated(finished, other, tmp_path / "out", f"evaluate.map={mapping}")
    assert not (tmp_path / "out").exists()


def test_no_folder_of_the_users_is_replaced(finished: Finished, other: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "evaluation.json").write_text("{}")  # the user's own, by chance
    with pytest.raises(UserError, match="is not an evaluation to replace"):
        evaluated(finished, other, tmp_path / "mine")


def test_missing_sets_are_named(finished: Finished, other: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="face"):
        evaluated(finished, other, tmp_path / "out", "data.shared=[]")


def test_a_model_without_valence_is_not_scored_on_it(finished: Finished, other: Path) -> None:
    sets = ("data=folder", f"data.root={other}", "data.levels=[low,high]", "data.shared=[face]")
    corpus = read_corpus(composed(*sets).data)
    predictor = load(finished.run.path)
    with_valence = evaluation(predictor, corpus, {"cross": "angry"})
    without = evaluation(replace(predictor, has_valence=False), corpus, {"cross": "angry"})
    assert with_valence.whole.dim is not None
    assert without.whole.dim is None
    assert without.whole.dis == with_valence.whole.dis
