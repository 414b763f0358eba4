"""Clips as they go wrong: noise over speech, blurred and lost frames. A clip's are the same in every run."""

import hashlib
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mer_lightning.config.extract import CorruptConfig
from mer_lightning.errors import UserError
from mer_lightning.extract.clips import Clip, media_files
from mer_lightning.extract.encoder import Modality
from mer_lightning.extract.media import Frame, Unreadable, read_speech

VOICES = 4  # other clips that speak at a time in babble

Samples = NDArray[np.float32]  # (n,)


class Corruption:
    """What ``extract.corrupt`` does to clips. What is drawn depends on the seed and the clip's id alone."""

    def __init__(self, settings: CorruptConfig, clips: Sequence[Clip] = ()) -> None:
        """``clips``: those that babble is made of. UserError for noise that is not to be had."""
        self.settings, self.files = settings, list[Path]()
        if settings.noise == "babble":
            self.files = [clip.path for clip in clips]
            if len(clips) <= VOICES:
                raise UserError(f"extract.corrupt.noise=babble: it takes more than {VOICES} clips; use white")
        elif settings.noise not in (None, "white"):
            folder = Path(str(settings.noise)).expanduser()
            if not folder.exists():
                raise UserError(
                    f"extract.corrupt.noise={folder}: no such folder; use a folder, white or babble"
                )
            self.files = list(media_files(folder).values())

    def described(self, source: Modality) -> dict[str, Any]:
        """What provenance says of features from ``source``: nothing where nothing is done to it."""
        s = self.settings
        heard = {"noise": s.noise and Path(s.noise).name, "snr": s.snr} if s.noise else {}
        seen = {key: value for key in ("blur", "lost", "fps") if (value := getattr(s, key))}
        done = {"speech": heard, "faces": seen, "frames": seen, "text": {}}[source]
        return {"corrupt": done | {"seed": s.seed}} if done else {}

    def speech(self, clip: Clip, samples: Samples) -> Samples:
        """(n,) samples with noise over them, at an SNR drawn from those that are given."""
        if self.settings.noise is None:
            return samples
        rng = self._draws(clip, "noise")
        snr = rng.choice(self.settings.snr)
        return mixed(samples, self._noise(clip, len(samples), rng), snr)

    def frames(self, clip: Clip, frames: Iterator[Frame]) -> Iterator[Frame]:
        """The frames that are not lost, blurred."""
        rng = self._draws(clip, "frames")
        for frame in frames:
            if rng.random() >= self.settings.lost:
                yield blurred(frame, self.settings.blur) if self.settings.blur else frame

    def fps(self, wanted: float) -> float:
        """Frames per second that are left of those wanted."""
        return min(wanted, self.settings.fps or wanted)

    def _noise(self, clip: Clip, n: int, rng: np.random.Generator) -> Samples:
        """(n,) samples."""
        if not self.files:
            return rng.standard_normal(n, dtype=np.float32)
        others = [path for path in self.files if path != clip.path]
        voices = VOICES if self.settings.noise == "babble" else 1
        total: Samples = np.zeros(n, np.float32)
        for i in rng.permutation(len(others))[:voices]:
            noise = read_noise(others[i])
            total += np.resize(np.roll(noise, -rng.integers(len(noise))), n)  # from somewhere on, and again
        return total

    def _draws(self, clip: Clip, what: str) -> np.random.Generator:
        key = hashlib.sha256(f"{self.settings.seed}\0{clip.id}\0{what}".encode()).digest()
        return np.random.default_rng(list(key))


def make_corruption(settings: CorruptConfig, clips: Sequence[Clip] = ()) -> Corruption | None:
    """What is done to the clips, None where that is nothing."""
    s = settings
    return Corruption(s, clips) if s.noise or s.blur or s.lost or s.fps else None


def mixed(speech: Samples, noise: Samples, snr: float) -> Samples:
    """Both (n,) -> their sum, the mean power of the speech ``snr`` dB above that of the noise."""
    power = np.square(speech, dtype=np.float64).mean(), np.square(noise, dtype=np.float64).mean()
    if not power[1]:
        raise Unreadable("its noise is silent")
    gain = np.float32(np.sqrt(power[0] / power[1] / 10 ** (snr / 10)))
    return speech + gain * noise


def blurred(frame: Frame, sigma: float) -> Frame:
    """A frame (H, W, 3) under a Gaussian of ``sigma`` pixels."""
    from PIL import Image, ImageFilter

    made: Frame = np.asarray(Image.fromarray(frame).filter(ImageFilter.GaussianBlur(sigma)))
    return made


@lru_cache(maxsize=16)
def read_noise(path: Path) -> Samples:
    """The sound of a clip of noise. Raises Unreadable if it has none."""
    heard = read_speech(path)
    if heard is None:
        raise Unreadable(f"its noise, {path.name}, has no sound")
    return heard.samples
