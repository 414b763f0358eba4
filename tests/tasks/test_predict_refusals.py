"""What a finished run does not decide on, and what its predictions do not replace."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mer_lightning.data.readers.store import write_store
from mer_lightning.errors import UserError
from mer_lightning.results.predictor import Predictor
from mer_lightning.tasks import predict
from tests.tasks.predictions import EXTRACTORS, Finished, predicted, write_features


def nothing(store: Path, folder: Path) -> None:
    shutil.rmtree(folder)


def lacking(store: Path, folder: Path) -> None:
    (folder / "face.npy").rename(folder / "faces.npy")


def wider(store: Path, folder: Path) -> None:
    np.save(folder / "low.npy", np.zeros((60, 7)))


def shorter(store: Path, folder: Path) -> None:
    np.save(folder / "face.npy", np.zeros((59, 4)))


def partly(store: Path, folder: Path) -> None:
    face = np.load(folder / "face.npy")
    face[3, 1] = np.nan
    np.save(folder / "face.npy", face)


def ambiguous(store: Path, folder: Path) -> None:
    for name in ("a.csv", "b.csv"):
        (folder / name).write_text("utterance_id\n")


def empty(store: Path, folder: Path) -> None:
    (folder / "labels.csv").write_text("utterance_id\n")
    for name, dimension in (("low", 6), ("high", 5), ("face", 4)):
        np.save(folder / f"{name}.npy", np.zeros((0, dimension)))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (nothing, "features: no such file or folder"),
        (lacking, "no feature set 'face'; did you mean 'faces'"),
        (wider, "needs low with dimension 6, .*features has dimension 7"),
        (shorter, r"face\.npy: 59 rows for 60"),
        (partly, r"face\.npy: NaN or infinity in row 3"),
        (ambiguous, r"a\.csv and b\.csv both"),
        (empty, r"features: no utterances|\.npy: cannot be read"),
    ],
)
def test_features_that_do_not_fit_are_refused(
    finished: Finished, tmp_path: Path, damage: Callable[[Path, Path], None], says: str
) -> None:
    folder = write_features(tmp_path / "features", finished.corpus.features)
    damage(finished.store, folder)
    with pytest.raises(UserError, match=says):
        predicted(finished.run, folder, tmp_path / "new" / "out.csv")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("made", "says"),
    [
        ({"low": EXTRACTORS["low"] | {"layer": 12}}, "needs low with layer 18, .*store has layer 12"),
        ({"face": EXTRACTORS["face"] | {"weights": "ff"}}, "face with weights '0a1b', .* weights 'ff'"),
        ({}, None),
        ({"high": {"encoder": "hubert", "layer": 3}}, None),  # the model does not know what it needs
    ],
)
def test_a_store_made_otherwise_is_refused(
    finished: Finished, tmp_path: Path, made: dict[str, Any], says: str | None
) -> None:
    store = write_store(finished.corpus, tmp_path / "store", made)
    if says is None:
        assert len(predicted(finished.run, store, tmp_path / "out.csv")) == 60
        return
    with pytest.raises(UserError, match=says):
        predicted(finished.run, store, tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


def test_only_an_earlier_prediction_is_replaced(finished: Finished, tmp_path: Path) -> None:
    output = tmp_path / "deep" / "out.csv"
    predicted(finished.run, finished.store, output, "model.fold=0")
    once = output.read_bytes()
    predicted(finished.run, finished.store, output)
    assert output.read_bytes() != once
    for text in ("precious", "utterance_id,predicted_emotion\n", ""):
        output.write_text(text)
        with pytest.raises(UserError, match="is not a prediction file to replace"):
            predicted(finished.run, finished.store, output)
        assert output.read_text() == text
    for path, says in ((output.parent, "to replace"), (output / "below.csv", "is not a folder")):
        with pytest.raises(UserError, match=says):
            predicted(finished.run, finished.store, path)


def test_an_unfinished_prediction_leaves_the_last_one_alone(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out.csv"
    predicted(finished.run, finished.store, output)
    before, ask, calls = output.read_bytes(), Predictor.decide, []

    def interrupted(self: Predictor, features: Mapping[str, Any]) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return ask(self, features)

    monkeypatch.setattr(Predictor, "decide", interrupted)
    monkeypatch.setattr(predict, "BLOCK", 9)
    with pytest.raises(KeyboardInterrupt):
        predicted(finished.run, finished.store, output)
    assert output.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["out.csv"]
