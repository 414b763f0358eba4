"""RAVDESS: all that is known of a clip is in its name, as in ``03-01-06-01-02-01-12``.

The parts are modality, channel, emotion, intensity, statement, repetition, actor. Song is left out.
"""

import re
from pathlib import Path

from mer_lightning.data.clips import Clip
from mer_lightning.data.corpus import Utterance
from mer_lightning.errors import UserError

EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
STATEMENTS = ("Kids are talking by the door.", "Dogs are sitting by the door.")
# Luna-Jimenez et al., Sensors 21 (2021) 7665: five folds of actors, the sexes and emotions in balance.
FOLDS = ((2, 5, 14, 15, 16), (3, 6, 7, 13, 18), (10, 11, 12, 19, 20), (8, 17, 21, 23, 24), (1, 4, 9, 22))
FOLD = {actor: fold for fold, actors in enumerate(FOLDS) for actor in actors}
NAME = re.compile(
    r"(0[13])-(01-0([1-8])-0[12]-0([12])-0[12]-([01]\d|2[0-4]))"
)  # with sound: video 01, or none 03


def read_ravdess(folder: Path) -> list[Clip]:
    """The spoken clips, with video where there is one. UserError if this is not RAVDESS's folder."""
    best: dict[str, tuple[re.Match[str], Path]] = {}
    for path in sorted(folder.rglob("*-*.*"), key=lambda p: (p.name, p)):  # modality 01 comes first
        match = NAME.fullmatch(path.stem)
        if match and path.suffix.lower() in (".mp4", ".wav"):
            best.setdefault(match[2], (match, path))
    if not best:
        raise UserError(
            f"{folder}: not the folder of RAVDESS, no clip such as Actor_12/03-01-06-01-02-01-12.wav in it"
        )
    clips = []
    for match, path in best.values():
        actor = match[5]
        utterance = Utterance(
            path.stem, EMOTIONS[int(match[3]) - 1], group=actor, fold=FOLD.get(int(actor), -1)
        )
        clips.append(Clip(utterance, path, STATEMENTS[int(match[4]) - 1]))
    return clips
