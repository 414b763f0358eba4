"""CREMA-D: what is acted is in a clip's name, as in ``1001_DFA_ANG_XX``; what was seen in it, in a table."""

import re
from pathlib import Path

from mer_lightning.data.clips import Clip
from mer_lightning.data.corpus import Utterance
from mer_lightning.data.labels import read_table
from mer_lightning.data.paths import label_file
from mer_lightning.errors import UserError

EMOTIONS = {"ANG": "anger", "DIS": "disgust", "FEA": "fear", "HAP": "happy", "NEU": "neutral", "SAD": "sad"}
VOTES = {code[0]: emotion for code, emotion in EMOTIONS.items()}
SENTENCES = {
    "IEO": "It's eleven o'clock.",
    "TIE": "That is exactly what happened.",
    "IOM": "I'm on my way to the meeting.",
    "IWW": "I wonder what this is about.",
    "TAI": "The airplane is almost full.",
    "MTI": "Maybe tomorrow it will be cold.",
    "IWL": "I would like a new alarm clock.",
    "ITH": "I think I have a doctor's appointment.",
    "DFA": "Don't forget a jacket.",
    "ITS": "I think I've seen this before.",
    "TSI": "The surface is slick.",
    "WSI": "We'll stop in a couple of minutes.",
}
NAME = re.compile(rf"(\d{{4}})_([A-Z]{{3}})_({'|'.join(EMOTIONS)})_[A-Z]{{1,2}}")
SUFFIXES = (".mp3", ".wav", ".mp4", ".flv")  # the last one that is there is taken


def read_cremad(folder: Path, labels: str | None = None) -> list[Clip]:
    """The clips with the acted emotion, or with what the raters saw and heard.

    labels: ``processedResults/summaryTable.csv``, for the raters' choice; a tie is no emotion.
    UserError if this is not CREMA-D's folder.
    """
    files = {p.stem: p for suffix in SUFFIXES for p in sorted(folder.rglob(f"*{suffix}"))}
    known = {stem: match for stem in sorted(files) if (match := NAME.fullmatch(stem))}
    if not known:
        raise UserError(
            f"{folder}: not the folder of CREMA-D, no clip such as VideoFlash/1001_DFA_ANG_XX.flv in it"
        )
    voted = None if labels is None else _votes(label_file(folder, labels, ""))
    clips = []
    for stem, match in known.items():
        actor, sentence, code = match.groups()
        emotion = EMOTIONS[code] if voted is None else voted.get(stem, "")
        utterance = Utterance(stem, emotion, group=actor)
        clips.append(Clip(utterance, files[stem], SENTENCES.get(sentence, "")))
    return clips


def _votes(table: Path) -> dict[str, str]:
    rows = read_table(table, "MultiModalVote", id_column="FileName")
    return {row["FileName"]: VOTES.get(row["MultiModalVote"], "") for _, row in rows}
