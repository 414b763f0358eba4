"""Short runs on real features, where they are at hand."""

from pathlib import Path

import pytest

from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.tasks import fit
from tests.conftest import SHARED, composed

SHORT = ("trainer.epochs=4", "pnao.rounds=1", "folds.workers=1")


@pytest.mark.skipif(not (SHARED / "ravdess").is_dir(), reason="RAVDESS features are not at hand")
def test_ravdess_without_valence_and_test_set(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    levels = "data.levels=[audio_l1_lstm1,audio_l2_lstm2,audio_l3_lstm3]"
    shared = "data.shared=[visual_openface_au]"
    data = (
        "data=folder",
        f"data.root={SHARED / 'ravdess'}",
        levels,
        shared,
        "data.folds=column",
        "data.tests=[]",
    )
    fit.run(composed("+experiment=pnao", *data, *SHORT), run)
    results = run.read_results()
    assert results.folds == 5
    assert results.data.n == {"train": 1440}
    assert results.test == {}
    assert results.validation.dim is None
    assert results.validation.dis > 0.65  # chance is 0.13
    assert results.rounds[1].parameters_ratio < 1
    assert results.rounds[1].compact_error < 1e-5


@pytest.mark.skipif(not (SHARED / "mosi").is_dir(), reason="MOSI features are not at hand")
def test_mosi_with_text_and_valence(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    sets = ("data.levels=[audio_opensmile_sel]", "data.shared=[visual_3dcnn,text_cnn]")
    fit.run(composed("+experiment=enf", "data=folder", f"data.root={SHARED / 'mosi'}", *sets, *SHORT), run)
    test = run.read_results().test["test"]
    assert test.dis > 0.5  # text alone, linear: 0.54
    assert test.dim < 1.6  # the constant: 2.15
    assert test.com == pytest.approx(test.dis - 0.25 * test.dim)
