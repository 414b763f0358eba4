"""What is said in the clips: a column of their labels, or a file of its own."""

from collections.abc import Sequence
from pathlib import Path

from mer_lightning.config.extract import ExtractConfig
from mer_lightning.data.labels import read_table
from mer_lightning.errors import UserError
from mer_lightning.extract.clips import Clip

USUAL = "transcription.csv"  # beside the clips, or beside their labels
IDS = ("utterance_id", "name")
TEXTS = ("transcript", "sentence")
LANGUAGES = ("chinese", "english")


def with_transcripts(
    clips: Sequence[Clip], folder: Path, settings: ExtractConfig, required: bool = True
) -> list[Clip]:
    """The clips with what is said in them, "" where that is not known.

    Read is ``extract.transcripts``; else the labels, if they have a column of transcripts; else the file
    ``transcription.csv``. Raises UserError for a file that is none, or, if they are required, where no clip
    has a transcript and ``extract.asr`` makes none.
    """
    labels = Path(settings.labels).expanduser() if settings.labels else folder / "labels.csv"
    given = [Path(settings.transcripts).expanduser()] if settings.transcripts else []
    usual = [path for path in (labels, folder / USUAL, labels.parent / USUAL) if path.suffix == ".csv"]
    said: dict[str, str] = {}
    for path in given or [path for path in usual if path.is_file()]:
        said = read_transcripts(path, settings.language, required=path != labels or bool(given))
        if said:
            break
    known = [clip._replace(transcript=said.get(clip.id, "")) for clip in clips]
    if required and not settings.asr and not any(clip.transcript for clip in known):
        raise UserError(
            f"no clip of {folder} has a transcript: give a column transcript in labels.csv, "
            "extract.transcripts=FILE.csv with the clips' names, or extract.asr=MODEL, a Whisper"
        )
    return known


def read_transcripts(path: Path, language: str | None, required: bool = True) -> dict[str, str]:
    """Utterance id -> transcript, of a CSV file with a column of ids and one of transcripts.

    language: the column, where there are several; required: whether a file without transcripts is an error.
    """
    rows = [row for _, row in read_table(path, id_column="")]
    header = list(rows[0]) if rows else []
    id_column = next((name for name in IDS if name in header), None)
    columns = [name for name in (*TEXTS, *LANGUAGES) if name in header]
    if language is not None and language in header:
        columns = [language]
    elif language is not None and required:
        raise UserError(
            f"extract.language={language}: {path} has no such column; there are: {', '.join(header)}"
        )
    if columns == list(LANGUAGES):
        raise UserError(
            f"{path}: its transcripts are in two languages; set extract.language=chinese or english"
        )
    if id_column is None or not columns:
        if not required:
            return {}
        raise UserError(
            f"{path}: no transcripts; it needs a column {' or '.join(IDS)}, and one of "
            f"{', '.join((*TEXTS, *LANGUAGES))}; there are: {', '.join(header)[:200]}"
        )
    return {row[id_column]: text for row in rows if (text := " ".join(row[columns[0]].split()))}
