"""From the configuration to a corpus that can be trained on."""

import re
from collections import defaultdict
from collections.abc import Collection
from dataclasses import replace

import numpy as np

from mer_lightning.config.groups import DataConfig
from mer_lightning.config.registry import READERS
from mer_lightning.data.corpus import NO_FOLD, TRAIN_SPLITS, UNLABELLED, Corpus, Utterance, names_validation
from mer_lightning.data.labels import USUAL_GROUP
from mer_lightning.errors import UserError

BY_SPEAKER = "features are standardised by each speaker's own clips, unlabelled, those of test sets included"


def read_corpus(config: DataConfig) -> Corpus:
    """The corpus of ``data.reader``, fit for training.

    Raises UserError, saying what and where, for a mistake in the configuration or the data.
    """
    _refuse_unused(config)
    corpus: Corpus = READERS.make(config.reader, config, **vars(config))
    if config.test_fold is None:
        corpus = with_validation(corpus, config.tests or ())
    else:
        corpus = replace(corpus, utterances=with_test_fold(corpus.utterances, config.test_fold))
    check_trainable(corpus)
    corpus = replace(corpus, notes=(*corpus.notes, *odd_tests(corpus)))
    return standardised_by_speaker(corpus) if config.standardise == "speaker" else corpus


def standardised_by_speaker(corpus: Corpus) -> Corpus:
    """The corpus with the features that ``by_speaker`` makes. UserError where not all speakers are known."""
    from mer_lightning.data.standardise import by_speaker  # late: it imports torch, which readers do without

    if any(isinstance(x, np.memmap) for x in corpus.features.values()):
        raise UserError("data.standardise=speaker takes features in memory; raise data.resident_gb")
    remedy = f"fill the speakers of {corpus.name} (data.group), or take data.standardise=train"
    features = by_speaker(corpus.features, [u.group for u in corpus.utterances], remedy)
    return replace(corpus, features=features, notes=(*corpus.notes, BY_SPEAKER))


def with_validation(corpus: Corpus, tests: Collection[str]) -> Corpus:
    """The corpus with ``dev`` and the like for ``val``, unless ``data.tests`` names them as test sets."""
    names = {u.split for u in corpus.utterances if names_validation(u.split)} - set(tests)
    if not names:
        return corpus
    utterances = tuple(u._replace(split="val") if u.split in names else u for u in corpus.utterances)
    note = f"split {' and '.join(sorted(names))} is taken for val; as a test set: data.tests=[NAME]"
    return replace(corpus, utterances=utterances, notes=(*corpus.notes, note))


def odd_tests(corpus: Corpus) -> list[str]:
    """A sentence on each test set that looks like none: by its name, or by its labels."""
    said, labels = [], defaultdict[str, list[str]](list)
    for u in corpus.utterances:
        if u.split not in (*TRAIN_SPLITS, UNLABELLED):
            labels[u.split].append(u.emotion)
    for split, emotions in sorted(labels.items()):
        if names_validation(split):
            said.append(f"test set {split} has the name of a validation set: settings may be chosen on it")
        elif re.search("train|unlabel", split.casefold()):
            said.append(f"test set {split} has no test set's name; leave it out with data.tests=[NAME,...]")
        if not any(emotions):
            said.append(f"test set {split}: no emotion is known, so it is predicted and not scored")
        elif len(set(emotions)) == 1 and len(emotions) > 1:
            said.append(f"test set {split}: all {len(emotions)} utterances are {emotions[0]}: placeholders?")
    return said


def with_test_fold(utterances: tuple[Utterance, ...], fold: int) -> tuple[Utterance, ...]:
    """All labelled utterances in Train&Val but those of the labels' ``fold``, the test set ``fold_F``.

    For data without a test set each fold can be it in turn, as RAVDESS's in experiments/evidence.
    """
    there = sorted({u.fold for u in utterances} - {NO_FOLD})
    if fold not in there:
        raise UserError(f"data.test_fold={fold}: the labels' fold column has no such fold, but {there}")
    return tuple(
        u if u.split == UNLABELLED else u._replace(split=f"fold_{fold}" if u.fold == fold else "train")
        for u in utterances
    )


def check_trainable(corpus: Corpus) -> None:
    """A UserError if Train&Val has no emotion, or a test set has one that Train&Val lacks."""
    trainval = [u for u in corpus.utterances if u.split in TRAIN_SPLITS]
    if not trainval:
        raise UserError(
            f"{corpus.name}: no utterance in Train&Val; name the test sets with data.tests, or data.tests=[]"
        )
    known = {u.emotion for u in trainval} - {""}
    if not known:
        raise UserError(f"{corpus.name}: training needs emotions, and no utterance of Train&Val has one")
    for u in corpus.utterances:
        if u.emotion and u.emotion not in known:
            raise UserError(
                f"{corpus.name}: emotion {u.emotion!r} of {u.id!r} in test set {u.split!r} occurs nowhere in "
                "Train&Val, so it cannot be learnt; fix the label, or leave that set out with data.tests"
            )


def _refuse_unused(config: DataConfig) -> None:
    """A UserError for a key that the reader would not look at."""
    if config.reader == "synthetic" and config.root:
        raise UserError(f"data.root={config.root}: data=synthetic reads no files; use data=NAME of a reader")
    if config.reader in ("synthetic", "store") and config.labels:
        raise UserError(f"data.labels={config.labels}: data={config.reader} has its own labels")
    if config.reader != "folder" and config.group not in ("", USUAL_GROUP):
        raise UserError(
            f"data.group={config.group}: only the label file of data=folder has columns to choose from"
        )
