"""MELD: ``MELD.Raw`` with its three label files and the three folders of clips.

The clips of the three parts have the same names, so an utterance's id is that of its part and clip, as in
``dev_dia0_utt1``. The valence is the sentiment: -1, 0, 1.
"""

import re
from pathlib import Path

from mer_lightning.data.clips import Clip
from mer_lightning.data.corpus import Utterance
from mer_lightning.data.labels import read_table
from mer_lightning.errors import UserError

PARTS = {  # part -> split, folders of its clips
    "train": ("train", ("train_splits", "train")),
    "dev": ("val", ("dev_splits_complete", "dev")),
    "test": ("test", ("output_repeated_splits_test", "test")),
}
COLUMNS = ("Utterance", "Speaker", "Emotion", "Sentiment", "Dialogue_ID", "Utterance_ID")
VALENCES = {"negative": -1.0, "neutral": 0.0, "positive": 1.0}
SUFFIXES = (".mp4", ".wav")


def read_meld(folder: Path) -> list[Clip]:
    """The clips of the label files, whether or not they are there. UserError if this is not MELD's folder."""
    return [clip for part in PARTS for clip in _part(folder, part)]


def _part(folder: Path, part: str) -> list[Clip]:
    split, names = PARTS[part]
    table = next(iter(sorted(folder.rglob(f"{part}_sent_emo.csv"))), None)
    if table is None:
        raise UserError(f"{folder}: not the folder of MELD, {part}_sent_emo.csv is nowhere in it")
    places = [p for name in names for p in sorted(folder.rglob(name)) if p.is_dir()]
    files = {p.stem: p for place in places for p in sorted(place.iterdir()) if p.suffix.lower() in SUFFIXES}
    clips = []
    for line, row in read_table(table, *COLUMNS[1:], id_column=COLUMNS[0]):
        name = f"dia{row['Dialogue_ID']}_utt{row['Utterance_ID']}"
        if row["Sentiment"] not in VALENCES:
            raise UserError(f"{table}, line {line}: sentiment {row['Sentiment'][:40]!r} is none of MELD's")
        valence = VALENCES[row["Sentiment"]]
        utterance = Utterance(f"{part}_{name}", row["Emotion"], valence, split, row["Speaker"])
        file = files.get(name, folder / names[0] / f"{name}.mp4")
        clips.append(Clip(utterance, file, _mended(row["Utterance"])))
    return clips


def _mended(text: str) -> str:
    """Its quotes and dashes are those of Windows, under their old numbers."""
    return re.sub("[\x80-\x9f]", lambda m: bytes([ord(m[0])]).decode("cp1252", "replace"), text)
