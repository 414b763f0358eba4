"""Features standardised by each speaker's own clips."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from mer_lightning import FeatureDataModule
from mer_lightning.data.readers.registry import read_corpus
from mer_lightning.data.readers.store import write_store
from mer_lightning.data.standardise import by_speaker
from mer_lightning.errors import UserError
from tests.conftest import composed, folder_overrides, write_folder

SPEAKERS = [f"s{i % 3}" for i in range(30)]


def test_each_speakers_rows_are_as_scikit_learn_scales_them() -> None:
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(30, 4)) + 10 * np.arange(30)[:, None] % 3).astype(np.float32)
    x[:, 3] = 7.0  # constant
    x[[4, 9]] = np.nan
    found = by_speaker({"x": x, "y": x[:, :2].astype(np.float16)}, SPEAKERS, "")
    for name, source in (("x", x), ("y", x[:, :2].astype(np.float16))):
        assert found[name].dtype == np.float32
        for speaker in set(SPEAKERS):
            own = np.array(SPEAKERS) == speaker
            expected = StandardScaler().fit_transform(source[own].astype(np.float64))
            np.testing.assert_allclose(found[name][own], expected, atol=1e-5)
    assert np.isnan(found["x"][[4, 9]]).all()


def test_a_shift_and_a_scale_of_a_speaker_change_nothing() -> None:
    x = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
    other = x.copy()
    other[np.array(SPEAKERS) == "s1"] = 3 * x[np.array(SPEAKERS) == "s1"] - 5
    one, two = (by_speaker({"x": features}, SPEAKERS, "")["x"] for features in (x, other))
    np.testing.assert_allclose(one, two, atol=1e-5)


@pytest.mark.parametrize(
    ("speakers", "says"), [(["a", "a", ""], "row 2 has no speaker"), (["a", "b", "a"], "row 1 has no other")]
)
def test_a_speaker_that_is_unknown_or_has_one_clip_is_refused(speakers: list[str], says: str) -> None:
    with pytest.raises(UserError, match=f"{says}.*; do this"):
        by_speaker({"x": np.ones((3, 2), np.float32)}, speakers, "do this")


def test_a_corpus_is_standardised_from_every_reader(folder: Path, tmp_path: Path) -> None:
    config = composed(*folder_overrides(folder)).data
    plain = read_corpus(config)
    found = read_corpus(replace(config, standardise="speaker"))
    expected = by_speaker(plain.features, [u.group for u in plain.utterances], "")
    store = write_store(plain, tmp_path / "store")
    stored = replace(config, reader="store", root=str(store), standardise="speaker")
    python = FeatureDataModule(folder, ["low", "high"], ["face"], folds=2, standardise="speaker").corpus
    for corpus in (found, read_corpus(stored), python):
        for name, array in expected.items():
            np.testing.assert_array_equal(corpus.features[name], array)
    assert "each speaker's own clips" in found.notes[-1]
    with pytest.raises(UserError, match=r"data\.resident_gb"):
        read_corpus(replace(stored, resident_gb=0.0))


def test_data_without_speakers_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"row 0 has no speaker.*data\.standardise=train"):
        read_corpus(composed(*folder_overrides(folder), "data.standardise=speaker", "data.group=''").data)
    with pytest.raises(UserError, match=r"data\.standardise=speakers: expected one of"):
        composed(*folder_overrides(write_folder(tmp_path / "x")), "data.standardise=speakers")
