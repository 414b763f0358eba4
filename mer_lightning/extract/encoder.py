"""What every encoder of clips is: the feature sets it makes, and how it says that it made them."""

from collections.abc import Sequence
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Modality = Literal["speech", "faces", "frames", "text"]
Features = dict[str, NDArray[np.float32]]  # feature set -> (D,)


class Encoder(Protocol):
    """One pretrained model that turns what it hears or sees of a clip into one or more feature sets."""

    source: Modality  # what it needs of a clip

    @property
    def provenance(self) -> dict[str, dict[str, Any]]:
        """Feature set -> how it is made: JSON values alone, equal for two encoders of the same features.

        It names the model, its revision where there is one, a digest of the weights, and every setting that
        changes the numbers (layer, window, ...); none that does not (device, batch size, paths).
        """

    def encode(self, clips: Sequence[Any]) -> list[Features]:
        """The features of each clip, in order, averaged over its time.

        clips: of each clip, speech: (n,) float32 samples at 16 kHz, mono, n > 0; faces, frames:
        (F, 224, 224, 3) uint8 RGB crops, or the middle of whole pictures, F > 0; text: the transcript.
        A clip's features do not depend on which others it is encoded with.
        """
