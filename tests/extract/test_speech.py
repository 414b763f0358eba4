"""Acoustic levels: what transformers makes of each clip alone, however the clips are batched and cut."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from mer_lightning.errors import UserError
from mer_lightning.extract.windows import Window, batches
from tests.extract.models import (
    DEPTH,
    KINDS,
    RATE,
    assert_close,
    encoder,
    hidden_states,
    normalised,
    save_whisper,
    speech,
)


@pytest.fixture(autouse=True)
def _batched_as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mer_lightning.extract.windows.NO_BATCHES", ())


@pytest.mark.parametrize("layers", [[0], [3, 1], [2, 0, DEPTH]])
@pytest.mark.parametrize("kind", KINDS)
def test_layers_are_those_of_transformers_clip_by_clip(
    folders: dict[str, Path], kind: str, layers: list[int]
) -> None:
    clips = speech(0.4, 2.0, 1.1, 0.41, 1.1)
    found = encoder(folders[kind], layers).encode(clips)
    for clip, features in zip(clips, found, strict=True):
        states = hidden_states(folders[kind], clip, normalised(kind))
        assert list(features) == [f"hubert_{k}" for k in layers]
        for k in layers:
            assert features[f"hubert_{k}"].dtype == np.float32
            assert_close(features[f"hubert_{k}"], states[k].mean(axis=0))


@pytest.mark.parametrize("kind", ["hubert-base", "hubert-large", "wavlm-large"])
def test_features_do_not_depend_on_the_company(folders: dict[str, Path], kind: str) -> None:
    clips = speech(0.5, 3.0, 0.9, 0.02, 1.7)
    together = encoder(folders[kind], [1, 3]).encode(clips)
    few = encoder(folders[kind], [1, 3], batch_seconds=2.0).encode(clips[::-1])[::-1]
    alone = [encoder(folders[kind], [1, 3]).encode([clip])[0] for clip in clips]
    for one, other, third in zip(together, few, alone, strict=True):
        for name in one:
            assert_close(one[name], other[name])
            assert_close(one[name], third[name])


@pytest.mark.parametrize("kind", ["hubert-base", "hubert-large"])
def test_a_long_clip_is_the_mean_over_its_windows_frames(folders: dict[str, Path], kind: str) -> None:
    long, short = speech(3.3, 0.7)
    found = encoder(folders[kind], [2], window=1.0).encode([short, long])
    whole = (long - long.mean()) / np.sqrt(long.var() + 1e-7) if normalised(kind) else long
    parts = [whole[start : start + RATE] for start in range(0, len(whole), RATE)]
    frames = np.concatenate([hidden_states(folders[kind], part, False)[2] for part in parts])
    assert len(frames) == 3 * 49 + 14
    assert_close(found[1]["hubert_2"], frames.mean(axis=0))
    assert_close(found[0]["hubert_2"], hidden_states(folders[kind], short, normalised(kind))[2].mean(axis=0))


def test_a_last_window_too_short_for_a_frame_joins_the_one_before(folders: dict[str, Path]) -> None:
    (clip,) = speech(2.1)
    made = encoder(folders["hubert-base"], [1], window=1.0)
    for extra, last in ((0, [RATE]), (1, [RATE + 1]), (399, [RATE + 399]), (400, [RATE, 400])):
        assert [len(window) for window in made.windows(clip[: 2 * RATE + extra])] == [RATE, *last]
    joined = clip[: 2 * RATE + 200]
    states = [hidden_states(folders["hubert-base"], part, False)[1] for part in np.split(joined, [RATE])]
    assert_close(made.encode([joined])[0]["hubert_1"], np.concatenate(states).mean(axis=0))


@pytest.mark.parametrize("kind", KINDS)
def test_clips_shorter_than_a_frame_are_padded(folders: dict[str, Path], kind: str) -> None:
    clips = [*speech(0.0, 0.01, 399 / RATE, 400 / RATE, 1.0), np.zeros(50, np.float32)]
    found = encoder(folders[kind], [0, 3]).encode(clips)
    for clip, features in zip(clips, found, strict=True):
        if normalised(kind):
            clip = (clip - clip.mean()) / np.sqrt(clip.var() + 1e-7)
        padded = np.pad(clip, (0, max(0, 400 - len(clip))))
        states = hidden_states(folders[kind], padded, False)
        assert_close(features["hubert_3"], states[3].mean(axis=0))
        assert_close(features["hubert_0"], states[0].mean(axis=0))


def test_no_clips_have_no_features(folders: dict[str, Path]) -> None:
    assert encoder(folders["hubert-base"], [1]).encode([]) == []


def test_batches_are_of_similar_lengths_and_within_the_limit() -> None:
    windows = [Window(i, np.zeros(n, np.float32)) for i, n in enumerate([5, 40, 6, 7, 100, 39])]
    made = [[len(window.samples) for window in batch] for batch in batches(windows, 80)]
    assert made == [[100], [40, 39], [7, 6, 5]]
    assert [len(batch) for batch in batches(windows, 0)] == [1] * 6
    assert list(batches([], 10)) == []


def test_one_pass_through_the_layers_needed_and_nothing_stays(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = encoder(folders["hubert-large"], [1, 2, 3])
    layers = made.model.encoder.layers
    assert len(layers) == 3
    passes: list[int] = []
    forward = type(layers[0]).forward

    def counted(self: Any, hidden: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        assert not hidden.requires_grad
        passes.append(len(hidden))
        return forward(self, hidden, *args, **kwargs)

    monkeypatch.setattr(type(layers[0]), "forward", counted)
    made.encode(speech(0.5, 0.6, 1.0))
    assert passes == [3, 3, 3]
    monkeypatch.setattr("mer_lightning.extract.windows.NO_BATCHES", ("cpu",))
    passes.clear()
    encoder(folders["hubert-large"], [1]).encode(speech(0.5, 0.6, 1.0))
    assert passes == [1, 1, 1]
    assert not made.model.training
    assert not any(layer._forward_pre_hooks for layer in layers)


def test_whisper_is_the_mean_over_the_frames_with_sound(tmp_path: Path) -> None:
    folder = save_whisper(tmp_path / "whisper")
    model = transformers.AutoModel.from_pretrained(folder).eval()
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    clips = speech(0.3, 1.0, 2.26)  # a window is a second; the last clip has three
    for layers in ([0, 3], [1, DEPTH]):
        found = encoder(folder, layers).encode(clips)
        halves = encoder(folder, layers, torch.bfloat16).encode(clips)
        assert np.corrcoef(found[2][f"hubert_{layers[1]}"], halves[2][f"hubert_{layers[1]}"])[0, 1] > 0.99
        for clip, features in zip(clips, found, strict=True):
            frames: dict[int, list[torch.Tensor]] = {k: [] for k in layers}
            for start in range(0, len(clip), RATE):
                window = clip[start : start + RATE]
                mel = extractor(window, sampling_rate=RATE, return_tensors="pt").input_features
                with torch.inference_mode():
                    states = model.encoder(mel, output_hidden_states=True).hidden_states
                for k in layers:
                    frames[k].append(states[k][0, : -(-len(window) // 320)])
            for k in layers:
                assert_close(features[f"hubert_{k}"], torch.cat(frames[k]).mean(dim=0).numpy())


def test_whisper_needs_its_feature_extractor(tmp_path: Path) -> None:
    folder = save_whisper(tmp_path / "whisper")
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(
        UserError, match=r"whisper: no usable processor .*give extract\.hubert\.model"
    ) as caught:
        encoder(folder, [1])
    assert "\n" not in str(caught.value)
