"""From videos to a store, to a trained system, to a prediction: real decoding, real classes, small models.

And the folder of MER 2023 as experiments/mer2023 describes it, in small.
"""

import csv
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from mer_lightning.data.readers.manifest import read_manifest
from mer_lightning.data.readers.registry import read_corpus
from mer_lightning.errors import UserError
from mer_lightning.extract.manet import empty
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.tasks import extract, fit, predict
from tests.conftest import SHARED, SMALL, composed
from tests.extract import test_text, test_vision
from tests.extract.models import save, save_whisper
from tests.extract.texts import CHINESE, ENGLISH, save_text

transformers = pytest.importorskip("transformers")
pytest.importorskip("av")
pytest.importorskip("dlib")

CLIPS = SHARED.parent / "clips"
pytestmark = pytest.mark.skipif(not CLIPS.is_dir(), reason=f"no {CLIPS}")

GOOD = ("angry_01", "happy_02", "sad_01", "surprise_02")
OUTCOMES = {  # clip -> its notes in the store, or the reason why it is not there
    **dict.fromkeys(GOOD, ""),
    "short_2s_mp3": "",
    "audio_only": "no face",
    "speech_48k": "no face",
    "no_face": "no face",
    "no_audio": "no speech",
    "empty": "failed: empty file",
    "not_a_video": "failed: not a media file",
    "truncated": "failed: broken",
}


class Models(NamedTuple):
    """Overrides that name small pretrained models."""

    overrides: tuple[str, ...]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    root = tmp_path_factory.mktemp("pretrained")
    hubert = save(root / "hubert", "hubert-large")
    resnet = test_vision.save(root / "resnet")
    torch.manual_seed(0)
    weights = {
        name: 0.02 * torch.randn(t.shape) if t.dim() > 1 else torch.ones(t.shape, dtype=t.dtype)
        for name, t in empty().state_dict().items()
    }
    save_file(weights, root / "manet.safetensors")
    return Models(
        (
            f"extract.hubert.model={hubert}", "extract.hubert.layers=[1,2,3]",
            f"extract.resnet.model={resnet}", f"extract.manet.weights={root / 'manet.safetensors'}",
            "extract.faces.fps=0.4",
        )
    )  # fmt: skip


@pytest.fixture(scope="module")
def store(models: Models, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All clips, and copies of the good ones, so that there is something to train on."""
    root = tmp_path_factory.mktemp("clips")
    shutil.copytree(CLIPS, root / "clips")
    rows = [("utterance_id", "emotion", "valence", "split")]
    for i, name in enumerate(OUTCOMES):
        rows.append((name, name.partition("_")[0] if name in GOOD else "", "", "train"))
        for copy in range(3) if name in GOOD else ():
            shutil.copy(CLIPS / f"{name}.mp4", root / "clips" / f"{name}_copy{copy}.mp4")
            rows.append((f"{name}_copy{copy}", name.partition("_")[0], str(i), "train" if copy else "test"))
    with (root / "clips" / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    settings = ("task=extract", f"input={root / 'clips'}", f"output={root / 'store'}", *models.overrides)
    extract.run(composed(*settings), RunDirectory(root / "run"))
    return root / "store"


def test_every_clip_has_its_outcome(store: Path) -> None:
    with (store / "clips.csv").open() as file:
        outcomes = {row["utterance_id"]: row["notes"] for row in csv.DictReader(file)}
    with (store / "failures.csv").open() as file:
        outcomes |= {row["utterance_id"]: f"failed: {row['reason']}" for row in csv.DictReader(file)}
    for name, outcome in OUTCOMES.items():
        assert outcomes[name].startswith(outcome), name
        assert bool(outcomes[name]) == bool(outcome), name


def test_the_store_holds_what_could_be_made(store: Path) -> None:
    corpus = read_corpus(composed("data=store", f"data.root={store}").data)
    assert corpus.levels == ("hubert_1", "hubert_2", "hubert_3")
    assert corpus.dimensions["manet"] == 1024
    row = {u.id: i for i, u in enumerate(corpus.utterances)}
    for name, array in corpus.features.items():
        lacking = [u for u in row if np.isnan(array[row[u]]).any()]
        speech = name.startswith("hubert")
        assert lacking == (["no_audio"] if speech else ["audio_only", "no_face", "speech_48k"])
        np.testing.assert_allclose(array[row["sad_01"]], array[row["sad_01_copy1"]], rtol=1e-4, atol=1e-5)
    manifest = read_manifest(store)
    assert manifest.features["manet"].extractor["fps"] == 0.4
    assert manifest.features["hubert_2"].extractor["layer"] == 2


def test_from_clips_to_a_prediction_of_a_new_one(store: Path, models: Models, tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "enf")
    data = ("data=store", f"data.root={store}", "data.folds=2")
    fit.run(composed("+experiment=enf", *data, *SMALL, "pnao.rounds=0"), run)
    with run.predictions.open() as file:
        known = next(r for r in csv.DictReader(file) if r["utterance_id"] == "happy_02_copy0")
    assert known["split"] == "test"

    shutil.copy(CLIPS / "happy_02.mp4", tmp_path / "new clip.mp4")
    settings = ("task=predict", f"model={run.path}", f"input={tmp_path / 'new clip.mp4'}")
    settings = (*settings, f"output={tmp_path / 'p.csv'}")
    predict.run(composed(*settings, *models.overrides), run)
    with (tmp_path / "p.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert row["utterance_id"] == "new clip"
    assert row["missing"] == ""
    for key in (k for k in row if k.startswith(("posterior_", "weight_"))):
        assert float(row[key]) == pytest.approx(float(known[key]), abs=1e-4)

    noisy = ("extract.corrupt.noise=white", "extract.corrupt.snr=[0]")
    predict.run(composed(*settings, *models.overrides, *noisy), run)
    with (tmp_path / "p.csv").open() as file:
        (heard,) = csv.DictReader(file)
    assert any(heard[k] != row[k] for k in row if k.startswith("posterior_"))

    other = save(tmp_path / "other", "wav2vec2-large")
    mismatch = r"the model needs hubert_1 with model .hubert., weights .*this extraction has model .other."
    with pytest.raises(UserError, match=mismatch):
        predict.run(composed(*settings, *models.overrides, f"extract.hubert.model={other}"), run)


def test_mer2023_from_its_folder(models: Models, tmp_path: Path) -> None:
    folder = tmp_path / "MER2023"
    (folder / "video").mkdir(parents=True)
    tables: dict[str, dict[str, dict[str, object]]] = {
        "train_corpus": {},
        "test1_corpus": {},
        "test3_corpus": {},
    }
    for i in range(12):
        name = f"sample_{i:08d}"
        shutil.copy(CLIPS / f"{GOOD[i % 4]}.mp4", folder / "video" / f"{name}.mp4")
        label = {"emo": ("neutral", "happy")[i % 2], "val": float(i % 5)}
        tables["train_corpus" if i < 8 else "test1_corpus" if i < 10 else "test3_corpus"][name] = (
            label | {"val": -10} if i >= 10 else label
        )
    np.savez_compressed(
        folder / "label-6way.npz", **{k: np.array(v, dtype=object) for k, v in tables.items()}
    )
    (folder / "transcription.csv").write_text("name,sentence\nsample_00000000,hello\n")

    labels = f"extract.labels={folder / 'label-6way.npz'}"
    settings = ("task=extract", f"input={folder / 'video'}", labels, f"output={tmp_path / 'store'}")
    extract.run(composed(*settings, *models.overrides), RunDirectory(tmp_path / "run"))
    run = RunDirectory(tmp_path / "pnao")
    data = ("data=store", f"data.root={tmp_path / 'store'}", "data.levels=[hubert_1,hubert_2,hubert_3]")
    fit.run(composed("+experiment=pnao", *data, *SMALL, "pnao.rounds=1", "data.folds=2"), run)
    test = run.read_results().test
    assert set(test) == {"test1", "test3"}
    assert test["test1"].com is not None
    assert test["test3"].dim is None  # SEMI has no valence


def test_from_clips_with_transcripts_to_three_modalities(tmp_path: Path) -> None:
    """Speech, pictures and text, in two languages; what a new clip says is given, or heard by a Whisper."""
    clips, pretrained = tmp_path / "clips", tmp_path / "pretrained"
    clips.mkdir()
    rows = [("utterance_id", "emotion", "split", "transcript")]
    for i in range(8):
        name = ("happy", "sad")[i % 2]
        shutil.copy(next(CLIPS.glob(f"{name}_*.mp4")), clips / f"{name}_{i}.mp4")
        said = {"happy": (ENGLISH, CHINESE)[i // 2 % 2], "sad": "why not", "": ""}[name if i < 7 else ""]
        rows.append((f"{name}_{i}", name, "test" if i > 5 else "train", said))
    with (clips / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    models = (
        "extract.features=[whisper,clip,text]", "extract.faces.fps=0.4",
        f"extract.whisper.model={save_whisper(pretrained / 'whisper')}", "extract.whisper.layers=[2,4]",
        f"extract.clip.model={test_vision.save(pretrained / 'clip', 'CLIP')}", "extract.clip.of=frames",
        f"extract.text.model={save_text(pretrained / 'text')}", "extract.text.layers=[3]",
        f"extract.asr={test_text.whisper(pretrained / 'asr')}",
    )  # fmt: skip
    settings = ("task=extract", f"input={clips}", f"output={tmp_path / 'store'}", *models)
    extract.run(composed(*settings), RunDirectory(tmp_path / "run"))
    with (tmp_path / "store" / "transcripts.csv").open(encoding="utf-8") as file:
        said = {row["utterance_id"]: row["transcript"] for row in csv.DictReader(file)}
    assert (said["happy_0"], said["happy_2"]) == (ENGLISH, CHINESE)
    assert said["sad_7"]  # what the Whisper made of it

    run = RunDirectory(tmp_path / "enf")
    data = ("data=store", f"data.root={tmp_path / 'store'}", "data.folds=2")
    fit.run(composed("+experiment=enf", *data, *SMALL, "pnao.rounds=0"), run)
    shown = run.read_results().data
    assert shown.levels == {"whisper_2": 16, "whisper_4": 16}
    assert shown.shared == {"clip": 10, "text_3": 24}

    new = tmp_path / "new"
    new.mkdir()
    shutil.copy(clips / "happy_6.mp4", new / "happy_6.mp4")
    (new / "transcription.csv").write_text(f"name,sentence\nhappy_6,{said['happy_6']}\n", encoding="utf-8")
    settings = ("task=predict", f"model={run.path}", f"input={new}", f"output={tmp_path / 'p.csv'}")
    predict.run(composed(*settings, *models, "extract.clip.of=faces", "extract.text.layers=[]"), run)
    with run.predictions.open() as file:
        known = next(r for r in csv.DictReader(file) if r["utterance_id"] == "happy_6")
    with (tmp_path / "p.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert row["missing"] == ""
    for key in (k for k in row if k.startswith(("posterior_", "weight_"))):
        assert float(row[key]) == pytest.approx(float(known[key]), abs=1e-4)
