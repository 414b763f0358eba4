"""IEMOCAP: ``Session1`` to ``Session5``; the recordings of the utterances are sound alone.

The fold is the session, and no speaker is in two: ``data.folds=column`` leaves one session out.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from mer_lightning.data.clips import Clip
from mer_lightning.data.corpus import Utterance
from mer_lightning.errors import UserError

EMOTIONS = {
    **{"neu": "neutral", "hap": "happy", "sad": "sad", "ang": "angry", "exc": "excited", "fru": "frustrated"},
    **{"fea": "fearful", "sur": "surprised", "dis": "disgusted", "oth": "other"},
    "xxx": "",  # the raters did not agree
}
LABEL = re.compile(r"^\[[\d. ]+-[\d. ]+\]\t(\w+)\t(\w+)\t\[([\d.]+), [\d.]+, [\d.]+\]", re.MULTILINE)
SAID = re.compile(r"^(\w+) \[[^\]]*\]: *(.*)$", re.MULTILINE)


def read_iemocap(folder: Path, classes: Sequence[str] = ()) -> list[Clip]:
    """The clips of the label files; excited ones count as happy unless ``classes`` tells them apart.

    Valences are from 1 to 5. UserError if this is not IEMOCAP's folder.
    """
    tables = [
        p for p in sorted(folder.glob("Session?/dialog/EmoEvaluation/*.txt")) if not p.name.startswith(".")
    ]
    if not tables:
        raise UserError(f"{folder}: not the folder of IEMOCAP, no Session1/dialog/EmoEvaluation/*.txt in it")
    merged = "happy" in classes and "excited" not in classes
    emotions = EMOTIONS | {"exc": "happy"} if merged else EMOTIONS
    return [clip for table in tables for clip in _dialogue(table, emotions)]


def _dialogue(table: Path, emotions: dict[str, str]) -> list[Clip]:
    session = table.parents[2]
    transcript = session / "dialog" / "transcriptions" / table.name
    said = dict(SAID.findall(_text(transcript))) if transcript.is_file() else {}
    found = LABEL.findall(_text(table))
    if not found:
        raise UserError(f"{table}: no label such as [6.29 - 8.23] TURN neu [2.5, 2.5, 2.5]; unpack it again")
    clips = []
    for turn, code, valence in found:
        if code not in emotions:
            raise UserError(f"{table}: {turn} has the emotion {code!r}, which is none of IEMOCAP's")
        file = session / "sentences" / "wav" / turn.rpartition("_")[0] / f"{turn}.wav"
        speaker = (
            turn[:5] + turn.rpartition("_")[2][:1]
        )  # Ses01 and the sex of who speaks, not of who wears sensors
        fold = int(session.name.removeprefix("Session")) - 1
        utterance = Utterance(turn, emotions[code], float(valence), "train", speaker, fold)
        clips.append(Clip(utterance, file, said.get(turn, "")))
    return clips


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")
