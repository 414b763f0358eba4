"""``labels.csv``: one row per utterance."""

import csv
import math
from collections.abc import Iterable, Iterator
from pathlib import Path

from mer_lightning.data.arrays import brief
from mer_lightning.data.corpus import NO_FOLD, Utterance, check_id
from mer_lightning.errors import UserError

COLUMNS = ("utterance_id", "emotion", "valence", "split", "group", "fold")
LARGEST_VALENCE = 1e9  # the square of which float32 holds
USUAL_GROUP = "speaker"  # the one group column that may be absent: its groups are then unknown


def read_labels(path: Path, group_column: str) -> tuple[Utterance, ...]:
    """The utterances of a label file, in its order.

    group_column: the column whose values never straddle two folds; ``""``: groups are unknown.
    Columns but ``utterance_id`` may be absent, and cells empty: unknown, or split ``train``.
    Raises UserError, naming file, line and value, for anything that cannot be meant.
    """
    required = group_column if group_column != USUAL_GROUP else ""
    return tuple(_utterance(row, group_column, where) for where, row in _rows(path, required))


def read_ids(path: Path, group_column: str = "") -> tuple[list[str], list[str]]:
    """The utterance ids of a label file, in its order, and their groups, "" where unknown.

    Whatever its other columns hold. Raises UserError, naming file and line, for an id that is there twice or
    cannot name a file.
    """
    rows = [row for _, row in _rows(path)]
    return [row["utterance_id"] for row in rows], [row.get(group_column, "").strip() for row in rows]


def write_labels(path: Path, utterances: Iterable[Utterance]) -> None:
    """Write what ``read_labels(path, "group")`` reads back exactly."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for u in utterances:
            valence = "" if math.isnan(u.valence) else repr(float(u.valence))
            fold = "" if u.fold == NO_FOLD else u.fold
            writer.writerow((u.id, u.emotion, valence, u.split, u.group, fold))


def read_table(
    path: Path, *required: str, id_column: str = "utterance_id"
) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and cells by column, row by row, of a UTF-8 CSV file with a header.

    Raises UserError if the file is not that, or lacks ``id_column`` or one of ``required``.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file, strict=True)  # strict: a lost quote must not swallow rows
            header = _header(next(rows, []), filter(None, (id_column, *required)), path)
            for row in filter(None, rows):  # blank lines are no rows
                if len(row) != len(header):
                    raise UserError(
                        f"{path}, line {rows.line_num}: {len(row)} cells for {len(header)} columns; "
                        "quote a cell that holds a comma"
                    )
                yield rows.line_num, dict(zip(header, row, strict=True))
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text ({brief(error)}); save it as UTF-8") from error
    except (csv.Error, OSError) as error:
        raise UserError(f"{path}: cannot be read as CSV ({brief(error)})") from error


def _rows(path: Path, *required: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Where it stands, and the cells, of each utterance; every id once, and fit to name a file."""
    lines: dict[str, int] = {}
    for line, row in read_table(path, *required):
        where = f"{path}, line {line}"
        name = check_id(row["utterance_id"], where)
        if name in lines:
            raise UserError(f"{where}: utterance id {name!r} is already on line {lines[name]}")
        lines[name] = line
        yield where, row


def _header(cells: list[str], required: Iterable[str], path: Path) -> list[str]:
    header = [cell.strip() for cell in cells]
    if not any(header):
        raise UserError(f"{path}: empty; its first line must name the columns, such as utterance_id,emotion")
    if twice := sorted({name for name in header if header.count(name) > 1}):
        raise UserError(f"{path}, line 1: two columns are called {twice[0]!r}")
    for name in required:
        if name not in header:
            raise UserError(f"{path}, line 1: no column {name!r} among {', '.join(header)[:200]}")
    return header


def _utterance(row: dict[str, str], group_column: str, where: str) -> Utterance:
    return Utterance(
        id=row["utterance_id"],
        emotion=_text(row, "emotion", where),
        valence=_valence(row.get("valence", ""), where),
        split=_text(row, "split", where) or "train",
        group=_text(row, group_column, where) if group_column else "",
        fold=whole_number(row.get("fold", ""), "fold", where),
    )


def _text(row: dict[str, str], column: str, where: str) -> str:
    text = row.get(column, "").strip()
    if not text.isprintable():
        raise UserError(f"{where}: {column} {text[:40]!r} holds characters that cannot be printed")
    return text


def _valence(cell: str, where: str) -> float:
    """The number of a cell; NaN for an empty one or ``nan``."""
    try:
        value = float(cell.strip() or "nan")
    except ValueError:
        value = math.inf
    if abs(value) > LARGEST_VALENCE:
        raise UserError(
            f"{where}: valence {cell[:40]!r} is not a number, or beyond {LARGEST_VALENCE:g}; leave it empty "
            "where it is unknown"
        )
    return value


def whole_number(cell: str, column: str, where: str) -> int:
    """The number, 0 or above, of a cell; -1 for an empty one."""
    if not cell.strip():
        return NO_FOLD
    try:
        value = int(cell)
    except ValueError:
        value = NO_FOLD
    if value < 0:
        raise UserError(f"{where}: {column} {cell[:40]!r} is not a whole number, 0 or above")
    return value
