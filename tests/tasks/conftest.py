"""A small finished run, made once."""

from dataclasses import replace

import numpy as np
import pytest

from mer_lightning.data.readers.registry import read_corpus
from mer_lightning.data.readers.store import write_store
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.tasks import fit
from tests.conftest import SMALL, composed, folder_overrides, write_folder
from tests.tasks.predictions import EXTRACTORS, FACE, LOW, Finished


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    root = tmp_path_factory.mktemp("predict")
    corpus = read_corpus(composed(*folder_overrides(write_folder(root / "data"))).data)
    for name, rows in (("low", LOW), ("face", FACE)):
        corpus.features[name][rows] = np.nan
    corpus = replace(corpus, extractors=EXTRACTORS)
    store = write_store(corpus, root / "store")
    run = RunDirectory(root / "run")
    settings = ("data=store", f"data.root={store}", "data.folds=2", *SMALL, "pnao.rounds=0")
    fit.run(composed("+experiment=pnao", *settings), run)
    return Finished(run, store, corpus)
