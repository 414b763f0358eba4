"""A feature folder: ``labels.csv`` and one ``NAME.npy`` per feature set."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mer_lightning.config.groups import DataConfig
from mer_lightning.data.arrays import load_npy, to_float
from mer_lightning.data.corpus import Corpus, check_features, choose_tests, emotion_classes
from mer_lightning.data.labels import read_labels
from mer_lightning.data.paths import data_root, label_file, require_sets


def read_folder(config: DataConfig) -> Corpus:
    """The corpus of a feature folder, its features in memory as float32 (float16 stays).

    Row i of every ``NAME.npy`` belongs to row i of the label file.
    Raises UserError, naming the file, for whatever does not fit together.
    """
    root = data_root(config.root)
    names = (*config.levels, *config.shared)
    require_sets(names, (path.stem for path in root.glob("*.npy")), root)
    labels = label_file(root, config.labels, "labels.csv")
    everyone = read_labels(labels, config.group)
    utterances, rows = choose_tests(everyone, config.tests, labels)
    return Corpus(
        name=root.resolve().name,
        utterances=utterances,
        features={name: _read_set(root / f"{name}.npy", len(everyone))[rows] for name in names},
        levels=tuple(config.levels),
        shared=tuple(config.shared),
        classes=emotion_classes(utterances, config.classes, str(labels)),
    )


def _read_set(path: Path, n: int) -> NDArray[np.floating]:
    return check_features(path.stem, to_float(load_npy(path)), n, path)
