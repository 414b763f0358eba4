"""Made-up features in the shape of MER 2023, for trying the whole pipeline without any data.

Every utterance has a latent vector per feature set: its emotion's prototype, its valence, and noise; the
set's informative dimensions are a linear view of it, the others carry only speaker and noise. The
published class shares and valence statistics of MER 2023 are kept.
"""

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mer_lightning.config.groups import DataConfig
from mer_lightning.data.corpus import Corpus, Utterance, check_features, choose_tests, emotion_classes
from mer_lightning.data.paths import require_sets

Array = NDArray[np.float32]

CLASSES = ("neutral", "angry", "happy", "sad", "worried", "surprise")
COUNTS = np.array([871, 822, 689, 383, 462, 146])  # of the 3373 training utterances
VALENCE_MEAN = np.array([-0.08, -2.50, 1.77, -2.37, -1.01, -0.41])
VALENCE_STD = np.array([0.68, 0.95, 0.74, 1.03, 0.80, 1.29])
VALENCE_RANGE, VALENCE_STEP = (-5.0, 4.25), 0.25
ALIKE = (("sad", "worried"), ("angry", "worried"), ("neutral", "surprise"))
ALIKENESS = 1.4  # weight of a direction that confusable emotions share, against 1 of their own

LATENT = 12  # dimensions of the latent vectors
SPEAKER = 8  # dimensions of a speaker's offset
PER_SPEAKER = 12  # utterances
INFORMATIVE = 0.4  # of the feature dimensions; the others are a nuisance
ENERGY = 4.0  # squared norm of a latent direction among the features, against noise of 1 in each dimension
NO_VALENCE = 0.03  # share of the training utterances


class Size(NamedTuple):
    """Utterances, and dimensions of the acoustic levels, of the face and of the scene."""

    train: int
    test: int
    acoustic: int
    face: int
    scene: int


class MadeSet(NamedTuple):
    """What a feature set sees: how well it tells each emotion, in the order of the classes."""

    gains: tuple[float, ...]
    acoustic: bool  # acoustic levels share prototypes and part of their noise


SIZES = {"small": Size(1200, 240, 128, 64, 128), "full": Size(3373, 411, 1024, 1024, 2048)}
VIEWS = {
    "acoustic_low": MadeSet((0.8, 1.7, 0.8, 0.7, 0.6, 1.6), acoustic=True),
    "acoustic_mid": MadeSet((1.2, 1.2, 0.8, 1.7, 0.8, 0.8), acoustic=True),
    "acoustic_high": MadeSet((1.3, 0.7, 1.3, 0.9, 1.7, 0.7), acoustic=True),
    "visual_face": MadeSet((1.0, 0.8, 2.0, 0.9, 0.7, 1.4), acoustic=False),
    "visual_scene": MadeSet((0.7, 0.7, 0.9, 0.8, 0.7, 0.7), acoustic=False),
}
LEVELS = tuple(name for name, view in VIEWS.items() if view.acoustic)
SHARED = tuple(name for name, view in VIEWS.items() if not view.acoustic)
SIGNAL = 1.25  # strength of a prototype against latent noise of 1
VALENCE = 0.3  # strength of the valence
CLARITY = 0.8  # how much the strength differs between utterances, as the deviation of its logarithm
SEED = 2023  # not the run's seed: all runs see the same data, as they would with real ones


def read_synthetic(config: DataConfig) -> Corpus:
    """The feature sets and test sets of the synthetic corpus that the configuration names, or all of them."""
    made = make_synthetic(config.size, SEED)
    levels = tuple(config.levels) or LEVELS
    shared = tuple(config.shared) or (() if config.levels else SHARED)
    names = (*levels, *shared)
    require_sets(names, made.features, "data=synthetic")
    utterances, rows = choose_tests(made.utterances, config.tests, "data=synthetic")
    if not config.group:
        utterances = tuple(u._replace(group="") for u in utterances)
    n = len(utterances)
    return replace(
        made,
        utterances=utterances,
        features={name: check_features(name, made.features[name][rows], n, made.name) for name in names},
        levels=levels,
        shared=shared,
        classes=emotion_classes(utterances, config.classes or made.classes, "data=synthetic"),
    )


def make_synthetic(size: str, seed: int) -> Corpus:
    """The synthetic corpus: splits train and test1, speakers, five float32 feature sets.

    size: ``small`` (1200 + 240 utterances) or ``full`` (3373 + 411, with MER 2023's dimensions).
    The same size and seed give the same corpus.
    """
    shape = SIZES[size]
    rng = np.random.default_rng(seed)
    emotions = np.concatenate([_emotions(n, rng) for n in (shape.train, shape.test)])
    valences = _valences(emotions, rng)
    speakers = np.concatenate([_speakers(shape.train, 0, rng), _speakers(shape.test, 10_000, rng)])
    features = _features(shape, emotions, valences, speakers, rng)
    valences[rng.permutation(shape.train)[: round(NO_VALENCE * shape.train)]] = np.nan
    return Corpus(
        name="synthetic",
        utterances=_utterances(shape, emotions, valences, speakers),
        features=features,
        levels=LEVELS,
        shared=SHARED,
        classes=CLASSES,
        synthetic=True,
    )


def _emotions(n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """(n,) class indices in the published shares, shuffled."""
    ends = np.round(COUNTS.cumsum() / COUNTS.sum() * n).astype(np.int64)
    return rng.permutation(np.searchsorted(ends, np.arange(n), side="right"))


def _valences(emotions: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.float64]:
    """(N,) valences of the published mean and deviation per class, on the published grid."""
    drawn = rng.normal(VALENCE_MEAN[emotions], VALENCE_STD[emotions])
    return np.clip(np.round(drawn / VALENCE_STEP) * VALENCE_STEP, *VALENCE_RANGE)


def _speakers(n: int, first: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """(n,) speaker numbers from ``first`` on; train and test have no speaker in common."""
    return first + rng.integers(n // PER_SPEAKER, size=n)


def _features(
    size: Size,
    emotions: NDArray[np.int64],
    valences: NDArray[np.float64],
    speakers: NDArray[np.int64],
    rng: np.random.Generator,
) -> dict[str, Array]:
    """Feature set -> (N, D)."""
    n = len(emotions)
    heard, blur = _directions(rng), rng.standard_normal((n, LATENT))
    clearness = rng.standard_normal(n)
    _, speaker = np.unique(speakers, return_inverse=True)
    dimensions = {"visual_face": size.face, "visual_scene": size.scene}
    features = {}
    for name, view in VIEWS.items():
        seen = heard if view.acoustic else _directions(rng)
        common = 0.5 if view.acoustic else 0.0  # of the variance of clarity and noise
        clarity = np.exp(CLARITY * _mixed(clearness, common, rng))
        strength = SIGNAL * clarity * np.array(view.gains)[emotions]
        latent = strength[:, None] * _prototypes(seen)[emotions]
        latent += VALENCE * (valences / VALENCE_MEAN.std())[:, None] * seen[-1]
        latent += _mixed(blur, common, rng)
        features[name] = _observed(latent, speaker, dimensions.get(name, size.acoustic), rng)
    return features


def _directions(rng: np.random.Generator) -> NDArray[np.float64]:
    """(LATENT, LATENT) orthonormal rows: the classes' own, then the pairs'; the last is valence's."""
    return np.linalg.qr(rng.standard_normal((LATENT, LATENT)))[0]


def _prototypes(directions: NDArray[np.float64]) -> NDArray[np.float64]:
    """(6, LATENT) unit vectors; confusable emotions share a direction."""
    prototypes = directions[: len(CLASSES)].copy()
    for pair, shared in zip(ALIKE, directions[len(CLASSES) :], strict=False):
        for emotion in pair:
            prototypes[CLASSES.index(emotion)] += ALIKENESS * shared
    unit: NDArray[np.float64] = prototypes / np.linalg.norm(prototypes, axis=1, keepdims=True)
    return unit


def _mixed(common: NDArray[np.float64], share: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Unit-variance noise, of which ``share`` of the variance is the common one."""
    own = rng.standard_normal(common.shape)
    return math.sqrt(share) * common + math.sqrt(1 - share) * own


def _observed(
    latent: NDArray[np.float64], speaker: NDArray[np.int64], dimension: int, rng: np.random.Generator
) -> Array:
    """(N, dimension): the latent vectors in the informative dimensions, speaker and noise in all."""
    informative = round(INFORMATIVE * dimension)
    view = np.zeros((LATENT, dimension), dtype=np.float32)
    view[:, rng.permutation(dimension)[:informative]] = rng.standard_normal((LATENT, informative))
    traits = rng.standard_normal((speaker.max() + 1, SPEAKER)) @ rng.standard_normal((SPEAKER, dimension))
    features = rng.standard_normal((len(latent), dimension), dtype=np.float32)
    features += latent.astype(np.float32) @ (view * np.float32(np.sqrt(ENERGY / informative)))
    features += (traits.astype(np.float32) / np.float32(np.sqrt(SPEAKER)))[speaker]
    features *= np.exp(0.5 * rng.standard_normal(dimension, dtype=np.float32))  # features have scales and
    features += rng.standard_normal(dimension, dtype=np.float32)  # offsets; standardising removes them
    return features


def _utterances(
    size: Size,
    emotions: NDArray[np.int64],
    valences: NDArray[np.float64],
    speakers: NDArray[np.int64],
) -> tuple[Utterance, ...]:
    splits = ["train"] * size.train + ["test1"] * size.test
    rows = zip(emotions.tolist(), valences.tolist(), splits, speakers.tolist(), strict=True)
    return tuple(
        Utterance(f"synthetic_{i:05d}", CLASSES[emotion], valence, split, f"speaker_{speaker:05d}")
        for i, (emotion, valence, split, speaker) in enumerate(rows)
    )
