"""The schema of ``extract``: what is made of clips, and how.

Values are in ``conf/extract``. Each file of ``conf/extract/feature`` is an encoder, called as the file; its
``kind`` says which class here has its settings, and which module of ``extract`` makes its features.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import yaml

from mer_lightning.config.checks import BIG, between, one_of
from mer_lightning.config.folder import conf_folder
from mer_lightning.config.registry import ENCODERS
from mer_lightning.errors import UserError

Schema = TypeVar("Schema")


def check_layers(key: str, layers: list[int]) -> None:
    """A UserError unless the layers are different numbers, 0 or above."""
    if min(layers, default=0) < 0 or len(set(layers)) != len(layers):
        raise UserError(f"{key}.layers={layers}: expected different numbers, 0 or above")


@dataclass(kw_only=True)
class SpeechConfig:
    """Acoustic levels: layers of a HuBERT, wav2vec 2.0, WavLM or of Whisper's encoder."""

    model: str  # hub name, or a folder with config.json and weights
    revision: str | None = None  # commit of the hub's model
    layers: list[int]  # k: hidden_states[k], 0 being the embedding output; each is a feature set NAME_k
    window: float = 30.0  # seconds; longer clips are encoded window by window
    batch_seconds: float = (
        60.0  # on a GPU: padded seconds of speech in one batch; a CPU takes clips one by one
    )

    def check(self, key: str) -> None:
        """A UserError for an invalid value."""
        check_layers(key, self.layers)
        if not self.layers:
            raise UserError(f"{key}.layers is empty: name at least one, {key}.layers=[12]")
        between(f"{key}.window", self.window, 1, BIG)
        between(f"{key}.batch_seconds", self.batch_seconds, 1, BIG)


@dataclass(kw_only=True)
class VisionConfig:
    """Faces or whole frames: an image model, averaged over time, or a video model."""

    model: str  # hub name, or a folder with config.json, the image processor's file and weights
    revision: str | None = None  # commit of the hub's model
    of: str = "faces"  # faces | frames: the middle square of the whole picture
    pooling: str  # pooled: the model's own | projected: into CLIP's joint space | cls | mean: over the tokens
    layers: list[int] = field(default_factory=list)  # []: the last, set NAME; k: hidden_states[k], set NAME_k
    batch: int = 64  # frames in one forward pass

    def check(self, key: str) -> None:
        """A UserError for an invalid value."""
        check_layers(key, self.layers)
        one_of(f"{key}.of", self.of, ("faces", "frames"))
        one_of(f"{key}.pooling", self.pooling, ("pooled", "projected", "cls", "mean"))
        if self.layers and self.pooling not in ("cls", "mean"):
            raise UserError(
                f"{key}.pooling={self.pooling} is of the last layer; with layers, use cls or mean"
            )
        between(f"{key}.batch", self.batch, 1, BIG)


@dataclass(kw_only=True)
class TextConfig:
    """Transcripts: a sentence or token encoder, the mean over the tokens."""

    model: str  # hub name, or a folder with config.json, the tokenizer's files and weights
    revision: str | None = None  # commit of the hub's model
    layers: list[int] = field(default_factory=list)  # []: the last, set NAME; k: hidden_states[k], set NAME_k
    tokens: int = 512  # of a transcript that are read at most
    batch: int = 32  # transcripts in one forward pass

    def check(self, key: str) -> None:
        """A UserError for an invalid value."""
        check_layers(key, self.layers)
        between(f"{key}.tokens", self.tokens, 1, BIG)
        between(f"{key}.batch", self.batch, 1, BIG)


@dataclass(kw_only=True)
class ManetConfig:
    """Facial expression: MA-Net."""

    weights: str | None  # its weights: a PyTorch state dict or safetensors
    batch: int  # faces in one forward pass

    def check(self, key: str) -> None:
        """A UserError for an invalid value."""
        between(f"{key}.batch", self.batch, 1, BIG)


@dataclass(kw_only=True)
class SmileConfig:
    """Functionals of openSMILE."""

    set: str  # of opensmile.FeatureSet

    def check(self, key: str) -> None:
        """Nothing to check: opensmile knows its sets."""


EncoderConfig = SpeechConfig | VisionConfig | TextConfig | ManetConfig | SmileConfig
KINDS: dict[str, type[EncoderConfig]] = {
    "speech": SpeechConfig,
    "vision": VisionConfig,
    "text": TextConfig,
    "manet": ManetConfig,
    "smile": SmileConfig,
}


def shipped() -> dict[str, dict[str, Any]]:
    """Name -> settings of every encoder, kind by kind: the files of ``conf/extract/feature``."""
    files = sorted((conf_folder() / "extract" / "feature").glob("*.yaml"))
    settings = [(file.stem, yaml.safe_load(file.read_text(encoding="utf-8"))) for file in files]
    return dict(sorted(settings, key=lambda named: list(KINDS).index(named[1]["kind"])))


SETTINGS = shipped()
KIND: dict[str, str] = {name: settings.pop("kind") for name, settings in SETTINGS.items()}
ENCODERS.update({name: f"extract.{kind}:make" for name, kind in KIND.items()})


def with_encoders(schema: type[Schema]) -> type[Schema]:
    """The schema, with a field for each encoder, whose default is what its file says."""
    for name, kind in KIND.items():
        schema.__annotations__[name] = KINDS[kind]
        setattr(schema, name, field(default_factory=partial(KINDS[kind], **SETTINGS[name])))
    return schema


@dataclass(kw_only=True)
class FacesConfig:
    """Finding the face."""

    fps: float  # frames looked at per second of video
    detector: str  # which detector, see detectors.py
    margin: float  # around the detected box, in shares of its size

    def __post_init__(self) -> None:
        between("extract.faces.fps", self.fps, 0.01, 1000)
        between("extract.faces.margin", self.margin, 0, 2)


@dataclass(kw_only=True)
class CorruptConfig:
    """Test sets of clips as they go wrong; the same for a clip in every run of one seed."""

    noise: str | None  # white | babble: other clips of the input | FOLDER of clips of noise
    snr: list[float]  # dB of the speech over the noise; one of them is drawn for each clip
    blur: float  # standard deviation, in pixels of the video
    lost: float  # share of the frames
    fps: float | None  # frames per second that are left
    seed: int

    def __post_init__(self) -> None:
        if not self.snr:
            raise UserError("extract.corrupt.snr is empty: name at least one, extract.corrupt.snr=[10]")
        for value in self.snr:
            between("extract.corrupt.snr", value, -60, 60)
        between("extract.corrupt.blur", self.blur, 0, 1000)
        between("extract.corrupt.lost", self.lost, 0, 1)
        between("extract.corrupt.fps", 1 if self.fps is None else self.fps, 0.01, 1000)


@dataclass(kw_only=True)
@with_encoders
class ExtractConfig:
    """``task=extract``, and ``task=predict`` on videos. Besides these, ``extract.NAME`` for each encoder."""

    labels: str | None  # label file of the clips; null: labels.csv or label-6way.npz beside them, if there
    transcripts: str | None  # FILE.csv; null: the labels' column transcript, or transcription.csv beside them
    language: str | None  # the column of the transcripts, chinese or english, where there are several
    asr: str | None  # a Whisper, hub name or folder, that makes the transcripts that are not there
    asr_language: str | None  # what is spoken, such as zh or en; null: Whisper finds out
    features: list[str]  # encoders, by the names of their files
    on_error: str  # report: a clip that fails is listed, the others go on | stop: the first one ends the run
    missing: str  # zeros: a clip without face or speech counts as average there | exclude: it is left out
    shard: str | None  # "i/n": only the i-th of n parts of the clips, i from 0
    clips: int  # clips decoded and encoded together
    accelerator: str  # auto | cpu | gpu
    precision: str  # auto: bfloat16 on GPUs that have it, else 32 bits | 32 | bf16 | fp16
    faces: FacesConfig
    corrupt: CorruptConfig

    def __post_init__(self) -> None:
        one_of("extract.on_error", self.on_error, ("report", "stop"))
        one_of("extract.missing", self.missing, ("zeros", "exclude"))
        one_of("extract.accelerator", self.accelerator, ("auto", "cpu", "gpu"))
        one_of("extract.precision", self.precision, ("auto", "32", "bf16", "fp16"))
        between("extract.clips", self.clips, 1, BIG)
        if not self.features:
            raise UserError(
                "extract.features is empty: name at least one, extract.features=[hubert,manet,resnet]"
            )
        if len(set(self.features)) < len(self.features):
            raise UserError(f"extract.features={self.features}: names one twice")
        for name, encoder in self.encoders(KIND).items():
            encoder.check(f"extract.{name}")
        self.part()

    def encoders(self, names: Iterable[str]) -> dict[str, EncoderConfig]:
        """The settings of those of these names that have a file. UserError for a name that there is not."""
        for name in names:
            ENCODERS.check(name)
        return {name: getattr(self, name) for name in names if name in KIND}

    @property
    def reads(self) -> bool:
        """Whether an encoder of transcripts is among the features."""
        return any(KIND.get(name) == "text" for name in self.features)

    def part(self) -> tuple[int, int]:
        """``(i, n)`` of ``shard``; ``(0, 1)`` where there is none."""
        if self.shard is None:
            return 0, 1
        match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", self.shard)
        if match is None or not int(match[1]) < int(match[2]):
            raise UserError(f"extract.shard={self.shard}: expected i/n with 0 <= i < n, such as 0/4")
        return int(match[1]), int(match[2])
