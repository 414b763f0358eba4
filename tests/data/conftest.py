"""A small store, and the corpus that is in it."""

from pathlib import Path

import pytest

from mer_lightning.data.corpus import Corpus
from mer_lightning.data.readers.store import write_store
from tests.data.helpers import UTTERANCES, small_corpus


@pytest.fixture
def corpus() -> Corpus:
    return small_corpus(UTTERANCES)


@pytest.fixture
def store(corpus: Corpus, tmp_path: Path) -> Path:
    return write_store(corpus, tmp_path / "store", {"a": {"model": "hubert", "layers": [18]}})
