"""``task=publish``, its card as the hub reads it, and ``load`` from the hub's cache without a network."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import ModelCard, constants

from mer_lightning import load
from mer_lightning.errors import UserError
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.results.card import plain
from mer_lightning.tasks import fit, predict, publish
from tests.conftest import SMALL, composed, folder_overrides, write_folder

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    root = tmp_path_factory.mktemp("publish")
    run = RunDirectory(root / "run")
    fit.run(composed(*folder_overrides(write_folder(root / "data")), *SMALL, "+experiment=pnao"), run)
    return run


def published(run: RunDirectory, folder: Path, *overrides: str) -> Path:
    given = ("task=publish", f"model={run.path}", f"output={folder}", *overrides)
    publish.run(composed(*given), RunDirectory(Path("nowhere")))
    return folder


@pytest.fixture(scope="module")
def folder(finished: RunDirectory, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("hub") / "model"
    return published(
        finished, made, "publish.license=cc-by-nc-4.0", "publish.language=[zh]", "publish.name=org/name"
    )


def test_the_folder_holds_the_model_and_nothing_else(finished: RunDirectory, folder: Path) -> None:
    assert {p.name for p in folder.iterdir()} == {p.name for p in finished.model.iterdir()} | {"README.md"}
    assert {p.suffix for p in folder.iterdir()} <= {".json", ".safetensors", ".md", ""}


def test_the_hubs_own_parser_reads_the_card(finished: RunDirectory, folder: Path) -> None:
    card = ModelCard.load(folder / "README.md")
    results = finished.read_results()
    assert card.data.license == "cc-by-nc-4.0"
    assert card.data.language == ["zh"]
    found = {e.metric_type: e.metric_value for e in card.data.eval_results}
    assert found["f1"] == pytest.approx(results.test["test"].dis, abs=1e-4)
    assert {e.dataset_split for e in card.data.eval_results} == {"test"}
    for emotion, value in results.test["test"].f1.items():
        assert f"| F1 of {emotion} | {value:.4f} |" in card.text
    for said in ("Consent", "Bias", "Labels", "Law", "low", 'load("hf://org/name")', "seed 0"):
        assert said in card.text


def test_a_license_is_asked_for_and_nothing_foreign_is_replaced(
    finished: RunDirectory, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"^publish\.license is not set"):
        published(finished, tmp_path / "new")
    with pytest.raises(UserError, match=r"publish\.license=My own: expected"):
        published(finished, tmp_path / "new", "publish.license='My own'")
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="exists, and"):
        published(finished, tmp_path, "publish.license=mit")
    assert (tmp_path / "mine.txt").read_text() == "mine"
    folder = tmp_path / "model"
    for _ in range(2):  # one that nobody touched is written again
        published(finished, folder, "publish.license=mit")
    (folder / "LICENSE").write_text("mine")
    with pytest.raises(UserError, match="holds LICENSE, which is not of this program"):
        published(finished, folder, "publish.license=mit")
    (folder / "LICENSE").unlink()
    with (folder / "README.md").open("a", encoding="utf-8") as card:
        card.write("How the speakers agreed.")
    with pytest.raises(UserError, match=r"README\.md has another text"):
        published(finished, folder, "publish.license=mit")


def test_names_are_text_in_the_card() -> None:
    assert plain("<b>[x](y)|\nz") == r"\<b\>\[x\]\(y\)\| z"


@pytest.fixture
def cache(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache with org/name in it, and no network; returns the snapshot."""
    root = tmp_path / "cache" / "models--org--name"
    snapshot = shutil.copytree(folder, root / "snapshots" / COMMIT)
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text(COMMIT)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return snapshot


@pytest.mark.usefixtures("cache")
def test_load_from_the_hubs_cache(finished: RunDirectory) -> None:
    rng = np.random.default_rng(0)
    own = load(finished.path)
    features = {name: rng.normal(size=(5, width)) for name, width in own.features.items()}
    for revision in (None, COMMIT):
        found = load("hf://org/name", revision=revision).predict(features)
        np.testing.assert_array_equal(found.posterior, own.predict(features).posterior)
    with pytest.raises(UserError, match="hf://org/other: not in the cache"):
        load("hf://org/other")
    with pytest.raises(UserError, match="expected hf://OWNER/NAME"):
        load("hf://../x/y")
    with pytest.raises(UserError, match="is for models of the hub"):
        load(finished.path, revision=COMMIT)


@pytest.mark.usefixtures("cache")
def test_tasks_take_a_model_of_the_hub(finished: RunDirectory, tmp_path: Path) -> None:
    own = load(finished.path)
    for name, width in own.features.items():
        np.save(tmp_path / f"{name}.npy", np.random.default_rng(0).normal(size=(3, width)))
    written = []
    for model in (str(finished.path), "hf://org/name", "hf://org/name model.revision=" + COMMIT):
        output = tmp_path / f"{len(written)}.csv"
        given = ("task=predict", *f"model={model}".split(), f"input={tmp_path}", f"output={output}")
        predict.run(composed(*given), RunDirectory(Path("nowhere")))
        written.append(output.read_bytes())
    assert written[0] == written[1] == written[2]


def test_a_damaged_file_in_the_cache_is_refused(cache: Path) -> None:
    damaged = next(cache.glob("*.safetensors"))
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match=damaged.name):
        load("hf://org/name")
