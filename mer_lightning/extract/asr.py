"""Transcripts of clips that have none, made by a Whisper."""

from threading import Lock

import torch

from mer_lightning.config.extract import ExtractConfig
from mer_lightning.errors import UserError
from mer_lightning.extract.hub import find, load_model, load_processor, quiet_hub, read_config
from mer_lightning.extract.registry import device_and_dtype
from mer_lightning.extract.weights import digest
from mer_lightning.extract.windows import RATE, Samples, cut_up

REMEDY = "give extract.asr a Whisper: a name on the hub, or a folder of transformers"


class Transcriber:
    """What is said in speech, by a Whisper. May be called from several threads; one works at a time."""

    def __init__(self, settings: ExtractConfig) -> None:
        """Raises UserError for a model that is missing, not a Whisper, or does not know the language."""
        pretrained = find("extract.asr", str(settings.asr), None)
        config = read_config(pretrained, ("whisper",), REMEDY)
        device, dtype = device_and_dtype(settings)
        model = load_model(pretrained, config, REMEDY, auto="AutoModelForSpeechSeq2Seq")
        self.name = f"{pretrained.name} {digest(model.state_dict())}"  # for provenance
        self._processor = load_processor(pretrained.folder, "AutoProcessor", REMEDY)
        self._options = {}
        if settings.asr_language is not None:
            if not getattr(model.generation_config, "is_multilingual", False):
                raise UserError(f"extract.asr_language is given, but {pretrained.name} knows English alone")
            self._options = {"language": settings.asr_language, "task": "transcribe"}
            self.name += f" {settings.asr_language}"
        self._model = model.to(device=device, dtype=dtype)
        self._lock = Lock()

    @torch.inference_mode()
    def __call__(self, samples: Samples) -> str:
        """(n,) samples -> the transcript, "" for silence; windows of 30 seconds one after the other."""
        extractor = self._processor.feature_extractor
        windows = cut_up(samples, extractor.n_samples, 1)
        with self._lock, quiet_hub():
            mel = extractor(windows, sampling_rate=RATE, return_tensors="pt").input_features
            tokens = self._model.generate(mel.to(self._model.device, self._model.dtype), **self._options)
        texts = self._processor.batch_decode(tokens, skip_special_tokens=True)
        return " ".join(" ".join(texts).split())


def make_transcriber(settings: ExtractConfig) -> Transcriber | None:
    """What makes transcripts, if ``extract.asr`` names a model and an encoder reads them."""
    return Transcriber(settings) if settings.asr and settings.reads else None
