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
    evaluated(finished, other, tmp_path / "out", "evaluate.map={cross: angry, gloomy: sad}")
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"holds notes\.txt, which is not of this program"):
        evaluated(finished, other, tmp_path / "out", "evaluate.map={cross: angry, gloomy: sad}")


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


def sheet(path: Path) -> dict[str, dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return {row["condition"]: row for row in csv.DictReader(file)}


def test_ablation_scores_the_test_set_without_each_feature_set(finished: Finished, tmp_path: Path) -> None:
    data = write_folder(tmp_path / "data")  # as the model was trained on, but for what was missing there
    evaluated(finished, data, tmp_path / "out", "evaluate.ablation=true")
    found = sheet(tmp_path / "out" / "ablation.csv")
    sets = ("low", "high", "face")
    assert list(found) == ["all sets", *(f"without {s}" for s in sets), *(f"{s} alone" for s in sets)]
    labels = list(csv.DictReader((data / "labels.csv").open(encoding="utf-8")))
    rows = [i for i, row in enumerate(labels) if row["split"] == "test"]
    true = [labels[i]["emotion"] for i in rows]

    def dis(*removed: str) -> float:
        features = {name: np.load(data / f"{name}.npy")[rows] for name in sets}
        for name in removed:
            features[name][:] = np.nan
        predicted = load(finished.run.path).predict(features).emotion
        return float(f1_score(true, predicted, average="weighted"))

    whole = float(found["all sets"]["dis"])
    assert whole == pytest.approx(dis())
    for condition, removed in (("without face", ("face",)), ("low alone", ("high", "face"))):
        row = {name: float(x) for name, x in found[condition].items() if name != "condition"}
        assert row["dis"] == pytest.approx(dis(*removed))
        assert row["dis_difference"] == pytest.approx(row["dis"] - whole)
        assert row["dis_low"] <= row["dis_difference"] <= row["dis_high"]
    assert dis("low", "high") != dis()
    assert (tmp_path / "out" / "figures" / "ablation.png").is_file()
    assert "without face" in (tmp_path / "out" / "index.html").read_text(encoding="utf-8")


def test_a_model_does_without_a_set_if_it_is_told_to(finished: Finished, tmp_path: Path) -> None:
    data, output = write_folder(tmp_path / "data"), tmp_path / "out"
    evaluated(finished, data, output, "model.without=[face]", "data.shared=[]")
    features = {name: np.load(data / f"{name}.npy") for name in ("low", "high", "face")}
    features["face"][:] = np.nan
    rows = list(csv.DictReader((output / "predictions.csv").open(encoding="utf-8")))
    expected = load(finished.run.path).predict(features).emotion
    assert [row["predicted_emotion"] for row in rows] == expected
    assert json.loads((output / "evaluation.json").read_text(encoding="utf-8"))["without"] == ["face"]
    assert "did without face" in (output / "index.html").read_text(encoding="utf-8")


def noisy_folder(clean: Path, root: Path, strength: float) -> Path:
    """The same utterances, with noise over the features: what a store of noisy clips would hold."""
    root.mkdir()
    (root / "labels.csv").write_text((clean / "labels.csv").read_text(encoding="utf-8"), encoding="utf-8")
    for name in ("low", "high", "face"):
        x = np.load(clean / f"{name}.npy")
        noise = np.random.default_rng(1).normal(0, strength, x.shape)
        np.save(root / f"{name}.npy", (x + noise).astype(np.float32))
    return root


def test_the_noise_curve_holds_what_evaluations_of_each_level_would(
    finished: Finished, tmp_path: Path
) -> None:
    data = write_folder(tmp_path / "data")  # which the model knows
    labels = (data / "labels.csv").read_text(encoding="utf-8")
    (data / "labels.csv").write_text(labels.replace(",train,", ",test,"), encoding="utf-8")
    noisy = {level: noisy_folder(data, tmp_path / f"at{level}", level) for level in (8, 0, 1.5)}
    listed = ", ".join(f"{level}: {root}" for level, root in noisy.items())
    evaluated(finished, data, tmp_path / "out", f"evaluate.noisy={{{listed}}}", "evaluate.axis=strength")
    found = sheet(tmp_path / "out" / "noise.csv")
    assert list(found) == ["data", "0", "1.5", "8"]
    assert found["0"]["dis"] == found["data"]["dis"]
    assert [float(found["0"][f"dis_{x}"]) for x in ("difference", "low", "high")] == [0, 0, 0]
    assert float(found["8"]["dis"]) < float(found["1.5"]["dis"]) < float(found["0"]["dis"])
    evaluated(finished, noisy[8], tmp_path / "alone")
    alone = json.loads((tmp_path / "alone" / "evaluation.json").read_text(encoding="utf-8"))
    assert float(found["8"]["dim"]) == pytest.approx(alone["splits"]["test"]["dim"])
    assert (tmp_path / "out" / "figures" / "noise.png").is_file()


def test_a_curve_is_of_the_same_utterances_and_of_numbers(finished: Finished, tmp_path: Path) -> None:
    data = write_folder(tmp_path / "data")
    fewer = write_folder(tmp_path / "fewer", n=30)
    with pytest.raises(UserError, match="level 10: its utterances are not those"):
        evaluated(finished, data, tmp_path / "out", f"evaluate.noisy={{10: {fewer}}}")
    with pytest.raises(UserError, match="level 'loud' is no number"):
        evaluated(finished, data, tmp_path / "out", f"evaluate.noisy={{loud: {fewer}}}")
