"""``task=import``: any reader's data into a feature store."""

from pathlib import Path

from rich.console import Console

from mer_lightning.config.schema import Config
from mer_lightning.data.readers.registry import read_corpus
from mer_lightning.data.readers.store import write_store
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.results.summary import splits_line


def run(config: Config, directory: RunDirectory) -> None:
    """Read, check, and write the store at ``output``."""
    corpus = read_corpus(config.data)
    store = write_store(corpus, Path(str(config.output)))
    sets = ", ".join(f"{name} ({d})" for name, d in corpus.dimensions.items())
    console = Console()
    console.print(f"{store}: {splits_line(corpus)}; {sets}", soft_wrap=True, highlight=False, markup=False)
    for note in corpus.notes:
        console.print(f"note: {note}", soft_wrap=True, highlight=False, markup=False)
    console.print(f"use it with data=store data.root={store}", soft_wrap=True, highlight=False, markup=False)
