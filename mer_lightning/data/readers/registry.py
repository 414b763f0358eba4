"""From the configuration to a corpus that can be trained on."""

from dataclasses import replace

from mer_lightning.config.groups import DataConfig
from mer_lightning.config.registry import READERS
from mer_lightning.data.corpus import NO_FOLD, TRAIN_SPLITS, Corpus, Utterance
from mer_lightning.data.labels import USUAL_GROUP
from mer_lightning.errors import UserError


def read_corpus(config: DataConfig) -> Corpus:
    """The corpus of ``data.reader``, fit for training.

    Raises UserError, saying what and where, for a mistake in the configuration or the data.
    """
    _refuse_unused(config)
    corpus: Corpus = READERS.make(config.reader, config, **vars(config))
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


def _refuse_unused(config: DataConfig) -> None:
    """A UserError for a key that the reader would not look at."""
    if config.reader == "synthetic" and config.root:
        raise UserError(f"data.root={config.root}: data=synthetic reads no files; say data=NAME of a reader")
    if config.reader in ("synthetic", "store") and config.labels:
        raise UserError(f"data.labels={config.labels}: data={config.reader} has its own labels")
    if config.reader != "folder" and config.group not in ("", USUAL_GROUP):
        raise UserError(
            f"data.group={config.group}: only the label file of data=folder has columns to choose from"
        )
