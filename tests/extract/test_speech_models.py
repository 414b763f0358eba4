"""Which models are read, how, and what their features say of them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from mer_lightning.errors import UserError
from mer_lightning.extract.windows import WindowEncoder
from tests.extract.models import DEPTH, assert_close, encoder, hidden_states, save, speech


@pytest.mark.parametrize(
    ("file", "content", "expected"),
    [
        ("preprocessor_config.json", {"do_normalize": False}, False),
        ("preprocessor_config.json", {"do_normalize": True}, True),
        ("preprocessor_config.json", {}, True),  # the default of the feature extractor
        ("processor_config.json", {"feature_extractor": {"do_normalize": False}}, False),
    ],
)
@pytest.mark.parametrize("kind", ["hubert-base", "hubert-large"])
def test_the_folder_says_whether_clips_are_normalised(
    tmp_path: Path, kind: str, file: str, content: dict[str, Any], expected: bool
) -> None:
    (save(tmp_path, kind) / file).write_text(json.dumps(content))
    made = encoder(tmp_path, [2])
    (clip,) = speech(0.5)
    assert made.provenance["hubert_2"]["normalised"] is expected
    assert_close(made.encode([clip])[0]["hubert_2"], hidden_states(tmp_path, clip, expected)[2].mean(axis=0))


def test_provenance_is_of_the_numbers_alone(folders: dict[str, Path], tmp_path: Path) -> None:
    one = encoder(folders["wavlm-base"], [1, 3])
    other = encoder(folders["wavlm-base"], [3, 0, 4], batch_seconds=7.0, revision="ignored")
    assert one.provenance["hubert_3"] == other.provenance["hubert_3"]
    assert json.loads(json.dumps(one.provenance)) == one.provenance
    assert one.provenance["hubert_1"] == {
        "encoder": "hubert",
        "model": "wavlm-base",
        "revision": None,
        "weights": one.provenance["hubert_1"]["weights"],
        "layer": 1,
        "window": 30.0,
        "normalised": False,
    }
    model = transformers.AutoModel.from_pretrained(folders["wavlm-base"])
    model.encoder.layers[2].layer_norm.bias.data[0] += 1e-3
    model.save_pretrained(tmp_path / "wavlm-base")
    changed = encoder(tmp_path / "wavlm-base", [3, 2]).provenance
    assert changed["hubert_3"] != one.provenance["hubert_3"]
    assert changed["hubert_2"] == encoder(folders["wavlm-base"], [2]).provenance["hubert_2"]


def test_half_precision_gives_float32_close_by(folders: dict[str, Path]) -> None:
    clips = speech(0.5, 1.5)
    for kind in ("hubert-base", "hubert-large", "wavlm-large"):
        exact = encoder(folders[kind], [1]).encode(clips)
        halves = encoder(folders[kind], [1], torch.bfloat16).encode(clips)
        for one, other in zip(exact, halves, strict=True):
            assert other["hubert_1"].dtype == np.float32
            assert np.corrcoef(one["hubert_1"], other["hubert_1"])[0, 1] > 0.995


def test_weights_of_a_recogniser_and_of_older_torch_are_read(
    folders: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (clip,) = speech(0.6)
    recogniser = save(tmp_path / "ctc", "hubert-large", "ForCTC")
    capfd.readouterr()
    found = encoder(recogniser, [2]).encode([clip])[0]["hubert_2"]
    assert capfd.readouterr() == ("", "")
    assert_close(found, hidden_states(recogniser, clip, True)[2].mean(axis=0))

    old = tmp_path / "old"
    old.mkdir()
    (old / "config.json").write_text((folders["hubert-base"] / "config.json").read_text())
    states = transformers.AutoModel.from_pretrained(folders["hubert-base"]).state_dict()
    names = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    for new, name in names.items():
        states = {key.replace(new, name): value for key, value in states.items()}
    torch.save(states, old / "pytorch_model.bin")
    assert_close(
        encoder(old, [2]).encode([clip])[0]["hubert_2"],
        encoder(folders["hubert-base"], [2]).encode([clip])[0]["hubert_2"],
    )


class Bomb:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def test_a_pickle_that_runs_code_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text((folders["hubert-base"] / "config.json").read_text())
    torch.save({"weights": Bomb(tmp_path / "exploded")}, tmp_path / "pytorch_model.bin")
    refused(tmp_path, [1], "could run code")
    assert not (tmp_path / "exploded").exists()


def refused(model: Path | str, layers: list[int], match: str) -> None:
    with pytest.raises(UserError, match=match) as caught:
        encoder(model, layers)
    assert "\n" not in str(caught.value)


def test_models_that_will_not_do_are_named(folders: dict[str, Path], tmp_path: Path) -> None:
    refused(folders["hubert-base"], [2, DEPTH + 1], r"layers=\[2, 5\]: hubert-base has layers 0 to 4")
    refused(tmp_path, [1], "config.json.*give extract.hubert.model a HuBERT")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    refused(tmp_path, [1], "type bert; give extract.hubert.model a HuBERT")
    (tmp_path / "config.json").write_text("{")
    refused(tmp_path, [1], "give extract.hubert.model a HuBERT")
    config = json.loads((folders["hubert-base"] / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config))
    refused(tmp_path, [1], "pytorch_model.bin.*give extract.hubert.model a HuBERT")
    weights = (folders["hubert-base"] / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(weights[:-5000])
    refused(tmp_path, [1], "cannot be read")
    (tmp_path / "model.safetensors").write_bytes(weights)
    (tmp_path / "config.json").write_text(json.dumps(config | {"num_hidden_layers": DEPTH + 2}))
    refused(tmp_path, [DEPTH + 1], r"do not fit its config.json, at encoder\.layers\.4")
    (tmp_path / "config.json").write_text(json.dumps(config | {"hidden_size": 48}))
    refused(tmp_path, [1], "do not fit its config.json, at .*; give extract.hubert.model a HuBERT")
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "preprocessor_config.json").write_text("[]")
    refused(tmp_path, [1], "preprocessor_config.json: cannot be read")


def test_a_name_that_cannot_be_downloaded_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    refused("nobody/nothing-of-that-name", [1], "cannot be downloaded .*or download it elsewhere")
    refused("not a name", [1], "cannot be downloaded .*check the name")
    refused(tmp_path / "nowhere", [1], "there is no such folder")
    refused("./nowhere", [1], "there is no such folder")


def test_of_the_hub_only_what_is_needed_is_fetched(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str | None, list[str]]] = []

    def download(model: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append((model, revision, allow_patterns))
        return str(folders["hubert-base"])

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    made: WindowEncoder = encoder("someone/hubert", [1], revision="abc")
    assert asked == [("someone/hubert", "abc", ["*.json", "*.txt", "*.model", "model*.safetensors"])]
    assert (
        made.provenance["hubert_1"] | {"model": "someone/hubert", "revision": "abc"}
        == (made.provenance["hubert_1"])
    )
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **k: asked.append(k) or str(tmp_path))
    refused("someone/hubert", [1], "config.json")
    assert asked[-1]["allow_patterns"] == ["*.json", "*.txt", "*.model", "pytorch_model*.bin"]  # type: ignore[call-overload]
