"""Clips as they go wrong: as much as is asked for, and the same in every run."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mer_lightning.config.extract import CorruptConfig
from mer_lightning.data.corpus import Utterance
from mer_lightning.errors import UserError
from mer_lightning.extract.clips import Clip, all_clips
from mer_lightning.extract.corrupt import Corruption, make_corruption, mixed
from mer_lightning.extract.decoder import Decoder
from mer_lightning.extract.media import Unreadable
from mer_lightning.extract.pipeline import Pipeline, make_pipeline
from tests.extract.clips import colours, red, tone, write_clip
from tests.extract.models import speech
from tests.extract.test_pipeline import Look, Loudness, settings, wavs, write_wav

CLEAN = settings().corrupt
HERE = Clip(Utterance("here"), Path("here.wav"))


def corruption(clips: tuple[Clip, ...] = (), **changes: Any) -> Corruption:
    return Corruption(replace(CLEAN, **changes), clips)


def decibels(clean: Any, noisy: Any) -> float:
    return float(10 * np.log10(np.square(clean).mean() / np.square(noisy - clean).mean()))


def test_nothing_is_done_unless_it_is_asked_for() -> None:
    assert make_corruption(CLEAN) is None
    assert Pipeline([Loudness()], settings()).provenance["loud"].keys() == {"encoder", "layer", "sample_rate"}


@pytest.mark.parametrize("snr", [-5.0, 0.0, 20.0])
@pytest.mark.parametrize("noise", ["white", "babble", "folder"])
def test_noise_is_as_loud_as_asked(tmp_path: Path, noise: str, snr: float) -> None:
    clips = tuple(all_clips(wavs(tmp_path / "clips", 6)))
    write_wav(tmp_path / "noises" / "hum.wav", 0.3)
    named = str(tmp_path / "noises") if noise == "folder" else noise
    (clean,) = speech(1.0)
    noisy = corruption(clips, noise=named, snr=[snr]).speech(HERE, clean)
    assert noisy.dtype == np.float32
    assert decibels(clean, noisy) == pytest.approx(snr, abs=0.01)


def test_what_is_drawn_depends_on_the_seed_and_the_clip_alone() -> None:
    (clean,) = speech(1.0)
    wrong = corruption(noise="white", snr=[0, 10, 20, 30])
    there = Clip(Utterance("there"), Path("there.wav"))
    one, other = wrong.speech(HERE, clean), wrong.speech(there, clean)
    assert np.array_equal(one, corruption(noise="white", snr=[0, 10, 20, 30]).speech(HERE, clean))
    assert not np.array_equal(one, other)
    assert not np.array_equal(one, corruption(noise="white", snr=[0, 10, 20, 30], seed=1).speech(HERE, clean))
    drawn = {
        round(decibels(clean, wrong.speech(Clip(Utterance(f"{i}"), HERE.path), clean))) for i in range(40)
    }
    assert drawn == {0, 10, 20, 30}


def test_babble_is_of_other_clips_and_silence_is_no_noise(tmp_path: Path) -> None:
    own = Clip(Utterance("own"), write_clip(tmp_path / "own.wav", tone(1.0, 16_000, hertz=3000), rate=16_000))
    clips = (*all_clips(wavs(tmp_path / "others", 4)), own)
    (clean,) = speech(1.0)
    for seed in range(5):
        noise = corruption(clips, noise="babble", seed=seed).speech(own, clean) - clean
        spectrum = np.abs(np.fft.rfft(noise))
        assert spectrum[2950:3050].max() < 0.01 * spectrum.max()
    with pytest.raises(Unreadable, match="silent"):
        mixed(clean, np.zeros_like(clean), 10)
    assert np.array_equal(mixed(np.zeros_like(clean), clean, 10), np.zeros_like(clean))


def test_frames_are_lost_fewer_and_blurred() -> None:
    frames = colours(200)
    left = red(corruption(lost=0.4).frames(HERE, iter(frames)))
    assert left == red(corruption(lost=0.4).frames(HERE, iter(frames))) == sorted(left)
    assert 100 <= len(left) <= 140
    assert list(corruption(lost=1.0).frames(HERE, iter(frames))) == []
    assert (corruption(fps=2.0).fps(5.0), corruption(fps=9.0).fps(5.0), corruption().fps(5.0)) == (2, 5, 5)
    sharp = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    (soft,) = corruption(blur=2.0).frames(HERE, iter([sharp]))
    assert soft.std() < sharp.std() / 3
    assert soft.mean() == pytest.approx(sharp.mean(), abs=2)


def test_a_clip_is_read_as_it_goes_wrong(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "x.mkv", tone(2.0), colours(50))
    clip = Clip(Utterance("x"), path)
    wrong = corruption(noise="white", snr=[0], fps=2.0, lost=0.6)
    clean, noisy = (Decoder({"speech", "frames"}, settings().faces, None, c)(clip) for c in (None, wrong))
    assert decibels(clean.inputs["speech"], noisy.inputs["speech"]) == pytest.approx(0, abs=0.01)
    assert (clean.record.frames, len(clean.inputs["frames"])) == (10, 10)
    assert noisy.record.frames == len(noisy.inputs["frames"]) in (1, 2, 3)


def test_provenance_says_what_was_done(tmp_path: Path) -> None:
    changed = settings(**{"corrupt.noise": "white", "corrupt.snr": "[5]", "corrupt.lost": 0.5})
    made = make_pipeline([Loudness(), Look()], changed, ()).provenance
    assert made["loud"]["corrupt"] == {"noise": "white", "snr": [5.0], "seed": 0}
    assert made["look"]["corrupt"] == {"lost": 0.5, "seed": 0}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"noise": "/nowhere"}, "noise=/nowhere: no such folder"),
        ({"noise": "babble"}, "more than 4 clips"),
        ({"snr": []}, "snr is empty"),
        ({"snr": [100]}, "snr=100"),
        ({"lost": 1.5}, "lost=1.5"),
        ({"blur": -1.0}, "blur=-1"),
        ({"fps": 0.0}, "fps=0"),
    ],
)
def test_what_cannot_be_done_is_said(change: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=rf"extract\.corrupt\..*{told}|extract\.corrupt\.{told}") as caught:
        corruption(**change)
    assert "\n" not in str(caught.value)


def test_a_folder_without_noise(tmp_path: Path) -> None:
    settings: CorruptConfig = replace(CLEAN, noise=str(tmp_path))
    with pytest.raises(UserError, match="no audio or video file"):
        Corruption(settings)
