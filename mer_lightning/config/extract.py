"""The schema of ``extract``: what is made of clips, and how. Values are in ``conf/extract``."""

import re
from dataclasses import dataclass

from mer_lightning.config.checks import BIG, between, one_of
from mer_lightning.errors import UserError


@dataclass(kw_only=True)
class HubertConfig:
    """Acoustic levels: layers of a HuBERT, wav2vec 2.0 or WavLM."""

    model: str  # hub name, or a folder with config.json and weights
    revision: str | None  # commit of the hub's model
    layers: list[int]  # k: hidden_states[k], 0 being the embedding output; each is a feature set hubert_k
    window: float  # seconds; longer clips are encoded window by window
    batch_seconds: float  # on a GPU: padded seconds of speech in one batch; a CPU takes clips one by one

    def __post_init__(self) -> None:
        if not self.layers or min(self.layers) < 0 or len(set(self.layers)) != len(self.layers):
            raise UserError(f"extract.hubert.layers={self.layers}: expected different numbers, 0 or above")
        between("extract.hubert.window", self.window, 1, BIG)
        between("extract.hubert.batch_seconds", self.batch_seconds, 1, BIG)


@dataclass(kw_only=True)
class ManetConfig:
    """Facial expression: MA-Net."""

    weights: str | None  # its weights: a PyTorch state dict or safetensors

    batch: int  # faces in one forward pass

    def __post_init__(self) -> None:
        between("extract.manet.batch", self.batch, 1, BIG)


@dataclass(kw_only=True)
class ResnetConfig:
    """Face appearance: a ResNet."""

    model: str  # hub name, or a folder with config.json and weights
    revision: str | None  # commit of the hub's model
    batch: int  # faces in one forward pass

    def __post_init__(self) -> None:
        between("extract.resnet.batch", self.batch, 1, BIG)


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
class ExtractConfig:
    """``task=extract``, and ``task=predict`` on videos."""

    labels: str | None  # label file of the clips; null: labels.csv or label-6way.npz beside them, if there
    features: list[str]  # encoders, by their names in extract/registry.py
    on_error: str  # report: a clip that fails is listed, the others go on | stop: the first one ends the run
    missing: str  # zeros: a clip without face or speech counts as average there | exclude: it is left out
    shard: str | None  # "i/n": only the i-th of n parts of the clips, i from 0
    clips: int  # clips decoded and encoded together
    accelerator: str  # auto | cpu | gpu
    precision: str  # auto: bfloat16 on GPUs that have it, else 32 bits | 32 | bf16 | fp16
    hubert: HubertConfig
    manet: ManetConfig
    resnet: ResnetConfig
    faces: FacesConfig

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
        self.part()

    def part(self) -> tuple[int, int]:
        """``(i, n)`` of ``shard``; ``(0, 1)`` where there is none."""
        if self.shard is None:
            return 0, 1
        match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", self.shard)
        if match is None or not int(match[1]) < int(match[2]):
            raise UserError(f"extract.shard={self.shard}: expected i/n with 0 <= i < n, such as 0/4")
        return int(match[1]), int(match[2])
