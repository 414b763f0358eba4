"""``task=import``: a reader's data into a feature store, or the labels of published clips into a CSV file."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from mer_lightning.config.groups import DataConfig
from mer_lightning.config.registry import CORPORA
from mer_lightning.config.schema import Config
from mer_lightning.data.arrays import brief
from mer_lightning.data.clips import Clip, write_clip_labels
from mer_lightning.data.paths import data_root
from mer_lightning.data.readers.registry import read_corpus
from mer_lightning.data.readers.store import write_store
from mer_lightning.errors import UserError
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.results.summary import splits_line


def run(config: Config, directory: RunDirectory) -> None:
    """Read, check, and write what ``output`` names."""
    output = Path(str(config.output)).expanduser().absolute()
    lines = (
        labels_of_clips(config.data, output) if config.data.reader in CORPORA else store(config.data, output)
    )
    for line in lines:
        Console().print(line, soft_wrap=True, highlight=False, markup=False)


def store(data: DataConfig, output: Path) -> list[str]:
    """Write the store; what is in it, a line each."""
    corpus = read_corpus(replace(data, standardise="train"))  # a store holds features as they are
    written = write_store(corpus, output)
    sets = ", ".join(f"{name} ({d})" for name, d in corpus.dimensions.items())
    return [
        f"{written}: {splits_line(corpus)}; {sets}",
        *(f"note: {note}" for note in corpus.notes),
        f"use it with data=store data.root={written}",
    ]


def labels_of_clips(data: DataConfig, output: Path) -> list[str]:
    """Write the ``labels.csv`` of a published folder of clips; what is in it, a line each.

    Left out are emotions that ``data.classes`` does not name, and clips without emotion and valence.
    """
    if output.suffix != ".csv" or output.exists():
        what = "exists already" if output.exists() else "labels are written into a .csv file"
        raise UserError(f"{output}: {what}; give output= a new file, such as {data.root}/labels.csv")
    root = data_root(data.root).absolute()
    clips: list[Clip] = CORPORA.make(data.reader, root, **vars(data))
    there = [c for c in clips if c.path.is_file()]
    wanted = [c for c in there if (c.utterance.emotion in data.classes if data.classes else _labelled(c))]
    if not wanted:
        raise UserError(
            f"{root}: {len(there)} of the {len(clips)} clips that the labels name are there, and none has an "
            f"emotion of data.classes={list(data.classes)}; unpack the clips, or name other classes"
        )
    try:
        write_clip_labels(output, wanted, root)
    except OSError as error:
        raise UserError(f"{output}: cannot be written ({brief(error)})") from error
    splits = Counter(c.utterance.split for c in wanted)
    emotions = Counter(c.utterance.emotion or "unknown" for c in wanted)
    lines = [
        f"{output}: " + ", ".join(f"{name} {n}" for name, n in splits.items()),
        "emotions: " + ", ".join(f"{name} {n}" for name, n in emotions.most_common()),
    ]
    if lost := [c.id for c in clips if not c.path.is_file()]:
        lines.append(f"note: {len(lost)} clips that the labels name are not there: {', '.join(lost[:5])}")
    if left := len(there) - len(wanted):
        lines.append(f"note: {left} clips with other emotions, or none, are left out")
    labels = "" if output == root / "labels.csv" else f" extract.labels={output}"
    return [*lines, f"go on with task=extract input={root}{labels} output=STORE"]


def _labelled(clip: Clip) -> bool:
    return bool(clip.utterance.emotion) or clip.utterance.valence == clip.utterance.valence
