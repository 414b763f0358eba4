"""Transcripts: what transformers makes of each alone; where they are read from, and made by a Whisper."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from mer_lightning.config.extract import TextConfig
from mer_lightning.data.corpus import Utterance
from mer_lightning.errors import UserError
from mer_lightning.extract.asr import Transcriber
from mer_lightning.extract.clips import Clip
from mer_lightning.extract.decoder import Decoder
from mer_lightning.extract.encoder import Encoder
from mer_lightning.extract.text import make
from mer_lightning.extract.transcripts import read_transcripts, with_transcripts
from tests.extract.models import save_whisper, speech
from tests.extract.test_pipeline import settings, write_wav
from tests.extract.texts import CHINESE, ENGLISH, READING, save_text, spelt

TEXTS = [ENGLISH, CHINESE, "why", f"{CHINESE} {ENGLISH}", "为什么？", "never heard"]  # noqa: RUF001


def encoder(model: Path, layers: tuple[int, ...] = (), **change: Any) -> Encoder:
    made = TextConfig(model=str(model), layers=list(layers), **change)
    return make("text", made, torch.device("cpu"), torch.float32)


def by_transformers(folder: Path, text: str, layer: int | None) -> Any:
    """The mean over the tokens of one text, unpadded."""
    model: Any = transformers.AutoModel.from_pretrained(folder).eval()
    model = model.get_encoder() if model.config.is_encoder_decoder else model
    words: Any = transformers.AutoTokenizer.from_pretrained(folder)
    ids = torch.tensor([words(text, truncation=True, max_length=20)["input_ids"]])
    with torch.inference_mode():
        out = model(input_ids=ids, output_hidden_states=True)
    state = out.last_hidden_state if layer is None else out.hidden_states[layer]
    return state[0].mean(dim=0).numpy()


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("reading")
    return {family: save_text(root / family, family) for family in READING}


@pytest.mark.parametrize("layers", [(), (0, 3), (2,)])
@pytest.mark.parametrize("family", READING)
def test_features_are_those_of_transformers_whatever_the_companions(
    folders: dict[str, Path], family: str, layers: tuple[int, ...]
) -> None:
    texts = [*TEXTS, ENGLISH * 9]  # longer than the model reads
    found = encoder(folders[family], layers, tokens=20).encode(texts)
    few = encoder(folders[family], layers, tokens=20, batch=2).encode(texts)
    for text, features, other in zip(texts, found, few, strict=True):
        assert list(features) == ([f"text_{k}" for k in layers] or ["text"])
        for name, layer in zip(features, layers or [None], strict=True):
            assert features[name].dtype == np.float32
            np.testing.assert_allclose(
                features[name], by_transformers(folders[family], text, layer), atol=1e-4
            )
            np.testing.assert_allclose(other[name], features[name], atol=1e-4)
    assert not np.allclose(*(next(iter(features.values())) for features in found[:2]), atol=0.1)


def test_half_precision_gives_float32_close_by(folders: dict[str, Path]) -> None:
    exact = encoder(folders["Bert"], (1,)).encode(TEXTS)
    settings = TextConfig(model=str(folders["Bert"]), layers=[1])
    halves = make("text", settings, torch.device("cpu"), torch.bfloat16).encode(TEXTS)
    for one, other in zip(exact, halves, strict=True):
        assert other["text_1"].dtype == np.float32
        assert np.corrcoef(one["text_1"], other["text_1"])[0, 1] > 0.99


def test_provenance_is_of_the_numbers_alone(folders: dict[str, Path]) -> None:
    made = encoder(folders["Bert"], (1, 2), batch=1).provenance
    assert made == encoder(folders["Bert"], (1, 2)).provenance
    assert made["text_2"] == made["text_1"] | {"layer": 2}
    assert made["text_1"]["tokens"] == 20  # the model has no more places
    assert encoder(folders["XLMRoberta"]).provenance["text"]["tokens"] == 21


def refused(match: str, model: Path, *layers: int) -> None:
    with pytest.raises(UserError, match=match) as caught:
        encoder(model, layers)
    assert "\n" not in str(caught.value)


def test_models_that_will_not_do_are_named(folders: dict[str, Path], tmp_path: Path) -> None:
    refused(r"extract\.text\.layers=\[1, 4\]: Bert has layers 0 to 3", folders["Bert"], 1, 4)
    refused(
        r"a model of type whisper; give extract\.text\.model a model of text", save_whisper(tmp_path / "w")
    )
    copy = save_text(tmp_path / "without")
    for file in copy.glob("tokenizer*"):
        file.unlink()
    refused(r"without: no usable tokenizer .*give extract\.text\.model", copy)


@pytest.mark.parametrize(
    ("table", "language", "expected"),
    [
        (f"name,sentence\na,{CHINESE}\nb,\n", None, {"a": CHINESE}),
        (f"utterance_id,emotion,transcript\na,sad, {ENGLISH}  \n", None, {"a": ENGLISH}),
        (f"name,chinese,english\na,{CHINESE},{ENGLISH}\n", "chinese", {"a": CHINESE}),
        (f"name,chinese,english\na,{CHINESE},{ENGLISH}\n", "english", {"a": ENGLISH}),
        (f"name,chinese\na,{CHINESE}\n", None, {"a": CHINESE}),
        ('\ufeffname,sentence\r\na,"so, why"\r\n', None, {"a": "so, why"}),
    ],
)
def test_transcripts_as_they_are_delivered(
    tmp_path: Path, table: str, language: str | None, expected: dict[str, str]
) -> None:
    (tmp_path / "t.csv").write_text(table, encoding="utf-8", newline="")
    assert read_transcripts(tmp_path / "t.csv", language) == expected


@pytest.mark.parametrize(
    ("content", "language", "told"),
    [
        (b"name,chinese,english\na,x,y\n", None, "two languages; set extract.language=chinese or english"),
        (
            b"name,sentence\na,x\n",
            "english",
            "extract.language=english: .*has no such column; there are: name, sentence",
        ),
        (b"name,words\na,x\n", None, "it needs a column utterance_id or name.*there are: name, words"),
        (b"clip,sentence\na,x\n", None, "it needs a column utterance_id or name"),
        (b"", None, "empty"),
        ("name,sentence\na,我\n".encode("gbk"), None, "save it as UTF-8"),
        (b"name,sentence\na,so, why\n", None, "line 2: 3 cells for 2 columns"),
    ],
)
def test_files_that_are_no_transcripts(
    tmp_path: Path, content: bytes, language: str | None, told: str
) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(UserError, match=told) as caught:
        read_transcripts(tmp_path / "t.csv", language)
    assert "\n" not in str(caught.value)


def test_where_transcripts_are_looked_for(tmp_path: Path) -> None:
    clips = [Clip(Utterance(name), tmp_path / f"{name}.wav") for name in ("a", "b")]

    def found(**changes: Any) -> list[str]:
        return [clip.transcript for clip in with_transcripts(clips, tmp_path, settings(**changes))]

    with pytest.raises(UserError, match=r"no clip .* has a transcript: .*extract\.asr=MODEL"):
        found()
    assert found(asr="some/whisper") == ["", ""]
    (tmp_path / "transcription.csv").write_text("name,sentence\nb,usual\n")
    (tmp_path / "labels.csv").write_text("utterance_id,emotion\na,sad\n")
    assert found() == ["", "usual"]
    (tmp_path / "labels.csv").write_text("utterance_id,transcript\na,of the labels\n")
    assert found() == ["of the labels", ""]
    (tmp_path / "other.csv").write_text("name,sentence\na,given\n")
    assert found(transcripts=str(tmp_path / "other.csv")) == ["given", ""]
    with pytest.raises(UserError, match=r"nowhere\.csv: no such file"):
        found(transcripts=str(tmp_path / "nowhere.csv"))


def whisper(folder: Path) -> Path:
    """A small Whisper that speaks, of bytes."""
    save_whisper(folder, "ForConditionalGeneration")
    made = spelt()
    made["vocab"] |= {"<|endoftext|>": 256, "<|startoftranscript|>": 257}
    words: Any = transformers.WhisperTokenizer(**made, pad_token="<|endoftext|>")
    words.save_pretrained(folder)
    return folder


def test_a_whisper_makes_the_transcripts_that_are_not_there(tmp_path: Path) -> None:
    folder = whisper(tmp_path / "whisper")
    listen = Transcriber(settings(asr=str(folder)))
    (one,) = speech(0.8)
    model: Any = transformers.AutoModelForSpeechSeq2Seq.from_pretrained(folder)
    processor: Any = transformers.AutoProcessor.from_pretrained(folder)
    mel = processor(one, sampling_rate=16_000, return_tensors="pt").input_features
    (text,) = processor.batch_decode(model.generate(mel), skip_special_tokens=True)
    assert listen(one) == " ".join(text.split()) != ""
    (long,) = speech(2.5)  # a window is a second
    parts = [listen(long[i : i + 16_000]) for i in (0, 16_000, 32_000)]
    assert listen(long) == " ".join(" ".join(parts).split())

    decoder = Decoder({"speech", "text"}, settings().faces, listen)
    wav = write_wav(tmp_path / "a.wav", 0.5)
    assert decoder(Clip(Utterance("a"), wav, "given")).inputs["text"] == "given"
    made = decoder(Clip(Utterance("a"), wav))
    assert made.inputs["text"] == made.record.transcript == listen(made.inputs["speech"])
    unheard = Decoder({"speech", "text"}, settings().faces)(Clip(Utterance("a"), wav))
    assert (unheard.record.notes, sorted(unheard.inputs)) == (["no transcript"], ["speech"])


def test_what_is_no_whisper_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a model of type bert; give extract\.asr a Whisper"):
        Transcriber(settings(asr=str(folders["Bert"])))
    silent = save_whisper(tmp_path / "silent", "ForConditionalGeneration")
    with pytest.raises(UserError, match=r"no usable processor .*give extract\.asr a Whisper"):
        Transcriber(settings(asr=str(silent)))
    with pytest.raises(UserError, match="whisper knows English alone"):
        Transcriber(settings(asr=str(whisper(tmp_path / "whisper")), asr_language="zh"))
