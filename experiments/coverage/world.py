"""A made-up population of speakers, and two systems trained with several seeds, tested on a sample of it.

Utterances are nested in speakers. A speaker is harder or easier for everyone, and for one system more than
for the other, and leans to some emotions. A seed shifts a system for all utterances at once, and interacts
with speakers.
"""

from dataclasses import dataclass

import numpy as np

from mer_lightning.report.statistics import Paired
from mer_lightning.results.sums import Floats, Ints, Sums, cluster_sums

PRIOR = np.array([0.22, 0.20, 0.18, 0.12, 0.13, 0.09, 0.06])  # seven emotions


@dataclass(frozen=True)
class World:
    """Standard deviations of normal effects: on the logits, and on the error of valence."""

    utterances: float = 25.0  # of a speaker: the median, at least 4; 1: clips one by one
    uneven: float = 0.4  # spread of the logarithm of a speaker's utterances
    gain: tuple[float, float] = (2.9, 2.8)  # of the true emotion's logit, by system
    loss: tuple[float, float] = (1.0, 1.03)  # factor of the error of valence, by system
    speaker: float = 0.4  # all systems
    speaker_emotion: float = 0.3
    system_speaker: float = 0.12
    system_speaker_emotion: float = 0.1
    seed: float = 0.04
    seed_emotion: float = 0.04
    seed_speaker: float = 0.06
    utterance: float = 0.8  # scale of Gumbel noise, shared by systems and seeds
    own: float = 0.25  # noise of one training on one utterance
    valence: tuple[float, float, float, float, float] = (0.3, 0.1, 0.03, 1.0, 0.25)
    # the same of valence: speaker, system x speaker, seed, utterance, own


def sample(rng: np.random.Generator, clusters: int, seeds: int, world: World) -> Paired:
    """Two systems' sums on K speakers, with S seeds."""
    speaker = np.repeat(np.arange(clusters), speaker_sizes(rng, clusters, world))
    emotion = emotions(rng, speaker)
    predicted = predictions(rng, speaker, emotion, seeds, world)
    error = valence_errors(rng, speaker, seeds, world)
    nothing = np.zeros(len(speaker))
    first, second = (
        [
            cluster_sums(emotion, p, nothing, e, speaker, len(PRIOR))
            for p, e in zip(predicted[system], error[system], strict=True)
        ]
        for system in (0, 1)
    )
    return Paired(*(Sums(*map(np.stack, zip(*sums, strict=True))) for sums in (first, second)))


def speaker_sizes(rng: np.random.Generator, clusters: int, world: World) -> Ints:
    """(K,) numbers of utterances."""
    if world.utterances == 1:
        return np.ones(clusters, dtype=np.int64)
    drawn = rng.normal(np.log(world.utterances), world.uneven, clusters)
    return np.maximum(4, np.exp(drawn)).astype(np.int64)


def emotions(rng: np.random.Generator, speaker: Ints) -> Ints:
    """(N,) true emotions; each speaker has a mixture of its own."""
    mixture = rng.dirichlet(30 * PRIOR, speaker[-1] + 1).cumsum(axis=1)[speaker]
    drawn: Ints = (rng.random((len(speaker), 1)) > mixture).sum(axis=1)
    return np.minimum(drawn, len(PRIOR) - 1)


def predictions(rng: np.random.Generator, speaker: Ints, emotion: Ints, seeds: int, world: World) -> Ints:
    """(2, S, N) emotions with the highest logit."""
    n, clusters, classes = len(speaker), speaker[-1] + 1, len(PRIOR)
    logits = rng.gumbel(0, world.utterance, (n, classes))
    logits = logits + rng.normal(0, world.speaker_emotion, (clusters, classes))[speaker]
    logits = logits + rng.normal(0, world.system_speaker_emotion, (2, 1, clusters, classes))[:, :, speaker]
    logits = logits + rng.normal(0, world.seed_emotion, (2, seeds, 1, classes))
    logits = logits + world.own * rng.standard_normal((2, seeds, n, classes), dtype=np.float32)
    by_speaker = (
        rng.normal(0, world.speaker, clusters)
        + rng.normal(0, world.system_speaker, (2, 1, clusters))
        + rng.normal(0, world.seed_speaker, (2, seeds, clusters))
    )
    by_seed = np.array(world.gain)[:, None] + rng.normal(0, world.seed, (2, seeds))
    logits[..., np.arange(n), emotion] += by_speaker[..., speaker] + by_seed[..., None]
    return np.asarray(logits.argmax(axis=-1))


def valence_errors(rng: np.random.Generator, speaker: Ints, seeds: int, world: World) -> Floats:
    """(2, S, N) predicted minus true valence."""
    n, clusters = len(speaker), speaker[-1] + 1
    by_speaker, by_system, by_seed, utterance, own = world.valence
    error = rng.normal(0, utterance, n) + rng.normal(0, by_speaker, clusters)[speaker]
    error = error + rng.normal(0, by_system, (2, 1, clusters))[..., speaker]
    error = error + rng.normal(0, by_seed, (2, seeds, 1)) + rng.normal(0, own, (2, seeds, n))
    return np.asarray(error * np.array(world.loss)[:, None, None])
