"""Features as a LightningDataModule, from Python."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mer_lightning.config.schema import group_type
from mer_lightning.data.datamodule import FoldData
from mer_lightning.data.folds import check_folds, draw_folds
from mer_lightning.data.readers.registry import read_corpus
from mer_lightning.errors import UserError


class FeatureDataModule(FoldData):
    """Cached features of labelled utterances, one fold of a cross-validation.

    Args:
        root: where the features are; None for made-up ones, ``reader="synthetic"``.
        levels: acoustic feature sets, one fusion branch each. shared: the sets that every branch sees.
        reader: ``folder``, ``store``, ``mertools``, ``synthetic``, or one of a plugin.
        folds: their number, or "column": as the labels say. fold: which one is held out, from 0.
        protocol: ``paper``: the held-out fold stops training; ``nested``: another one does;
            ``fixed``: train, validation and test as the labels' splits say, ``fold`` being 0.
        labels: the label file; None: the reader's usual one.
        classes: the emotions in order; none: those found, sorted.
        tests: names of the test sets; None: every split but train and val.
        test_fold: the labels' fold that is the test set; None: ``tests``.
        group: the column of the labels whose values never straddle two folds; "": none.
        clip: deviations from the mean at which standardised features are cut off; None: nowhere.
        standardise: ``train``: by the training part; ``speaker``: before that, by the group's own rows.
        balanced: every emotion comes equally often in an epoch of training.
        settings: of the reader itself.

    ``corpus`` has the utterances, ``standardisation`` the statistics of the training part. Batches are
    standardised. Raises UserError for a mistake in the arguments or the data.
    """

    def __init__(
        self,
        root: str | Path | None = None,
        levels: Sequence[str] = (),
        shared: Sequence[str] = (),
        reader: str = "folder",
        folds: int | str = 5,
        fold: int = 0,
        protocol: str = "paper",
        batch_size: int = 128,
        seed: int = 0,
        labels: str | Path | None = None,
        classes: Sequence[str] = (),
        tests: Sequence[str] | None = None,
        test_fold: int | None = None,
        group: str = "speaker",
        clip: float | None = 5.0,
        standardise: str = "train",
        balanced: bool = False,
        **settings: Any,
    ) -> None:
        config = group_type("data")(
            reader=reader,
            root=None if root is None else str(root),
            levels=list(levels),
            shared=list(shared),
            labels=None if labels is None else str(labels),
            classes=list(classes),
            tests=None if tests is None else list(tests),
            test_fold=test_fold,
            folds=folds,
            group=group,
            clip=clip,
            standardise=standardise,
            balanced=balanced,
            **settings,
        )
        corpus = read_corpus(config)
        drawn = draw_folds(corpus, folds, seed, protocol)
        check_folds(corpus, drawn, protocol)
        if fold not in range(count := int(drawn.max()) + 1):
            raise UserError(f"fold={fold}: expected 0 to {count - 1}")
        super().__init__(corpus, drawn, fold, protocol, batch_size, seed, clip, balanced)
