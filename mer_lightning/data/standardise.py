"""Standardisation with the statistics of the training part, which travel with the network."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mer_lightning.data.memmap import gather
from mer_lightning.errors import UserError

BLOCK = 8192  # rows at a time, so that a memory-mapped set never has to fit in memory
NO_CLIP = torch.tensor(torch.inf)
FLAT = 1e-6  # a deviation this small beside the mean is rounding, not signal


class ValenceScale(NamedTuple):
    """Mean and deviation of the training part's valences: networks are trained on standardised ones.

    So an affine change of the labels changes nothing but the units of what is predicted.
    """

    mean: float = 0.0
    deviation: float = 1.0

    def __call__(self, valence: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N,) in the labels' units to zero mean and unit variance; NaN stays NaN."""
        return ((valence.astype(np.float64) - self.mean) / self.deviation).astype(np.float32)


def fit_valence_scale(valence: NDArray[np.float32]) -> ValenceScale:
    """The scale of (n,) valences, NaN where unknown; constant ones have deviation 1."""
    known = valence[~np.isnan(valence)].astype(np.float64)
    if not len(known):
        return ValenceScale()
    mean, deviation = float(known.mean()), float(known.std())
    return ValenceScale(mean, deviation if deviation > FLAT * abs(mean) else 1.0)


@dataclass(frozen=True)
class Standardisation:
    """Mean and deviation of every feature set, (D,) each; a constant dimension has deviation 1.

    clip: (), how many deviations from the mean a value may lie; farther ones are brought there. Real sets
        have values thousands of deviations out, and one of them is enough to spoil a prediction.
    """

    mean: dict[str, Tensor]
    deviation: dict[str, Tensor]
    clip: Tensor = NO_CLIP

    def __call__(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Feature set -> (B, D) raw features to zero mean and unit variance, clipped; unknown sets go.

        A missing row (NaN) becomes zeros, the mean of the training part.
        """
        return {name: self._standardised(name, x) for name, x in features.items() if name in self.mean}

    def _standardised(self, name: str, x: Tensor) -> Tensor:
        z = (x.to(self.mean[name].dtype) - self.mean[name]) / self.deviation[name]
        z = z.clamp(-self.clip, self.clip)
        return torch.where(z.isnan(), 0.0, z)  # decided on the device, and traceable

    def to(self, device: torch.device) -> "Standardisation":
        """The same statistics on another device."""
        return Standardisation(
            {k: v.to(device) for k, v in self.mean.items()},
            {k: v.to(device) for k, v in self.deviation.items()},
            self.clip.to(device),
        )

    def as_tensors(self) -> dict[str, Tensor]:
        """Flat, for a file."""
        mean = {f"mean/{k}": v for k, v in self.mean.items()}
        deviation = {f"deviation/{k}": v for k, v in self.deviation.items()}
        return mean | deviation | {"clip": self.clip}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> "Standardisation":
        """The inverse of ``as_tensors``."""
        parts: dict[str, dict[str, Tensor]] = {"mean": {}, "deviation": {}}
        for key, value in tensors.items():
            part, _, name = key.partition("/")
            if name:
                parts[part][name] = value
        return cls(**parts, clip=tensors["clip"])


def fit_standardisation(
    features: Mapping[str, NDArray[np.floating]], rows: NDArray[np.int64], clip: float | None = None
) -> Standardisation:
    """Statistics of the given rows that are not missing, in double precision, in one pass over blocks.

    Args:
        features: name -> (N, D).
        rows: (n,) indices of the training part, n >= 1.
        clip: deviations from the mean beyond which values are brought back; None: none are.

    Raises:
        UserError: a feature set is missing in all the rows.
    """
    mean, deviation = {}, {}
    for name, array in features.items():
        m, s = _moments(name, array, np.sort(rows))
        mean[name] = torch.from_numpy(m.astype(np.float32))
        deviation[name] = torch.from_numpy(s.astype(np.float32))
    return Standardisation(mean, deviation, NO_CLIP if clip is None else torch.tensor(float(clip)))


def by_speaker(
    features: Mapping[str, NDArray[np.floating]], speakers: Sequence[str], remedy: str
) -> dict[str, NDArray[np.floating]]:
    """Feature set -> (N, D) float32: zero mean and unit variance over each speaker's own rows.

    The statistics need no labels. A row that is missing (NaN) counts in none, and stays missing.

    Args:
        features: name -> (N, D).
        speakers: of each of the N rows.

    Raises:
        UserError, which ends in ``remedy``, where a speaker is not known, or has one row: that row would be
        zero.
    """
    names, of_row, counts = np.unique(np.array(speakers, dtype=str), return_inverse=True, return_counts=True)
    for alone, why in (
        (names == "", "row {} has no speaker"),
        (counts == 1, "the speaker of row {} has no other"),
    ):
        if alone.any():
            row = np.flatnonzero(alone[of_row])[0]
            raise UserError(f"standardising by speaker: {why.format(row)} (counted from 0); {remedy}")
    own = np.split(np.argsort(of_row, kind="stable"), np.cumsum(counts)[:-1])
    standardised: dict[str, NDArray[np.floating]] = {}
    for name, array in features.items():
        x = np.full(array.shape, np.nan, dtype=np.float32)
        for rows in own:
            block = gather(array, rows)
            if not np.isnan(block[:, 0]).all():
                mean, deviation = _moments(name, array, rows)
                x[rows] = (block - mean) / deviation
        standardised[name] = x
    return standardised


def clipped_columns(features: Mapping[str, NDArray[np.floating]], by: Standardisation) -> str:
    """What ``by`` clips of each feature set, and where the farthest value is; "" where nothing is clipped."""
    found = []
    for name, array in features.items():
        z = (
            ((torch.from_numpy(np.ascontiguousarray(array)) - by.mean[name]) / by.deviation[name])
            .abs()
            .nan_to_num(0.0)
        )
        share, farthest = float((z > by.clip).float().mean()), z.max(dim=0).values
        if share:
            column = int(farthest.argmax())
            found.append(f"{name} {share:.2%}, farthest {float(farthest[column]):,.0f} in column {column}")
    if not found:
        return ""
    return (
        f"data.clip={float(by.clip):g}: values more deviations than that from the mean are cut off (columns "
        f"counted from 0): {'; '.join(found)}"
    )


def _moments(
    name: str, array: NDArray[np.floating], rows: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and deviation per column of those of ``rows`` that are not missing; (D,) each; 1 where constant.

    Each block's moments are exact to rounding, and joined by the formula of Chan, Golub and LeVeque (1979).
    """
    count, mean, squares = 0, np.zeros(array.shape[1]), np.zeros(array.shape[1])
    for start in range(0, len(rows), BLOCK):
        block = gather(array, rows[start : start + BLOCK])
        block = block[~np.isnan(block[:, 0])]  # one number tells: a row is NaN as a whole or nowhere
        if not len(block):
            continue
        here = block.sum(axis=0, dtype=np.float64) / len(block)
        spread = block - here
        total, apart = count + len(block), here - mean
        mean += apart * (len(block) / total)
        squares += np.square(spread, out=spread).sum(axis=0)  # in place: a block of doubles is large
        squares += np.square(apart) * (count * len(block) / total)
        count = total
    if not count:
        raise UserError(
            f"feature set {name!r} is missing for all {len(rows)} utterances of a fold's training part; "
            "leave it out of data.levels and data.shared"
        )
    deviation = np.sqrt(squares / count)
    return mean, np.where(deviation <= FLAT * np.abs(mean), 1.0, deviation)
