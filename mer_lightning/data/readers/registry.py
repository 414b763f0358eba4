"""From the configuration to a corpus that can be trained on."""

from dataclasses import replace

from mer_lightning.config.groups import DataConfig
from mer_lightning.data.corpus import (
    NO_FOLD,
    TRAIN_SPLITS,
    Corpus,
    Utterance,
    check_features,
    choose_tests,
    emotion_classes,
)
from mer_lightning.data.labels import USUAL_GROUP
from mer_lightning.data.paths import require_sets
from mer_lightning.data.readers.folder import read_folder
from mer_lightning.data.readers.mertools import read_mertools
from mer_lightning.data.readers.store import read_store
from mer_lightning.data.readers.synthetic import make_synthetic
from mer_lightning.errors import UserError

SYNTHETIC_SEED = 2023  # not the run's seed: all runs see the same data, as they would with real ones


def read_corpus(config: DataConfig) -> Corpus:
    """The corpus of ``data.reader``, fit for training.

    Raises UserError, saying what and where, for a mistake in the configuration or the data.
    """
    _refuse_unused(config)
    if config.reader == "synthetic":
        corpus = _synthetic(config)
    else:
        readers = {"folder": read_folder, "mertools": read_mertools, "store": read_store}
        corpus = readers[config.reader](config)
    if config.test_fold is not None:
        corpus = replace(corpus, utterances=with_test_fold(corpus.utterances, config.test_fold))
    check_trainable(corpus)
    return corpus


def with_test_fold(utterances: tuple[Utterance, ...], fold: int) -> tuple[Utterance, ...]:
    """All utterances in Train&Val but those of the labels' ``fold``, which are the test set ``fold_F``.

    Each fold in turn as the test set is what a data set without one can offer: see experiments/outer_folds.
    """
    there = sorted({u.fold for u in utterances} - {NO_FOLD})
    if fold not in there:
        raise UserError(f"data.test_fold={fold}: the labels' fold column has no such fold, but {there}")
    return tuple(u._replace(split=f"fold_{fold}" if u.fold == fold else "train") for u in utterances)


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
                "Train&Val, so it cannot be learnt; mend the label, or leave that set out with data.tests"
            )


def _synthetic(config: DataConfig) -> Corpus:
    made = make_synthetic(config.size, SYNTHETIC_SEED)
    names = (*config.levels, *config.shared)
    require_sets(names, made.features, "data=synthetic")
    utterances, rows = choose_tests(made.utterances, config.tests, "data=synthetic")
    if not config.group:
        utterances = tuple(u._replace(group="") for u in utterances)
    n = len(utterances)
    return Corpus(
        name=made.name,
        utterances=utterances,
        features={name: check_features(name, made.features[name][rows], n, made.name) for name in names},
        levels=tuple(config.levels),
        shared=tuple(config.shared),
        classes=emotion_classes(utterances, config.classes or made.classes, "data=synthetic"),
        synthetic=True,
    )


def _refuse_unused(config: DataConfig) -> None:
    """A UserError for a key that the reader would not look at."""
    if config.reader == "synthetic" and config.root:
        raise UserError(
            f"data.root={config.root}: data=synthetic reads no files; say data=folder, mertools or store"
        )
    if config.reader in ("synthetic", "store") and config.labels:
        raise UserError(f"data.labels={config.labels}: data={config.reader} has its own labels")
    if config.reader != "folder" and config.group not in ("", USUAL_GROUP):
        raise UserError(
            f"data.group={config.group}: only the label file of data=folder has columns to choose from"
        )
