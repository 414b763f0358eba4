import math
from pathlib import Path

import numpy as np
import pytest

from mer_lightning.data.corpus import Utterance
from mer_lightning.data.labels import read_ids, read_labels, write_labels
from mer_lightning.errors import UserError
from tests.data.helpers import LABELS, RAVDESS, needs_ravdess, same_utterances


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_reads_every_column(tmp_path: Path) -> None:
    utterances = read_labels(write(tmp_path / "labels.csv", LABELS), "speaker")
    assert utterances[0] == Utterance("u0", "happy", 1.5, "train", "ann", 0)
    assert utterances[3].emotion == ""
    assert math.isnan(utterances[2].valence)
    assert utterances[4].fold == -1
    assert [u.split for u in utterances] == ["train", "train", "val", "train", "test1", "test2"]


def test_ids_alone_are_read_whatever_the_labels(tmp_path: Path) -> None:
    path = write(tmp_path / "l.csv", "valence,utterance_id\nhigh,b\n,a\n")
    assert read_ids(path)[0] == ["b", "a"]
    for ids, says in (("b\nb\n", "line 3: .* already on line 2"), ("../b\n", "cannot name a file")):
        with pytest.raises(UserError, match=says):
            read_ids(write(path, "utterance_id\n" + ids))


def test_absent_columns_are_unknown(tmp_path: Path) -> None:
    utterances = read_labels(write(tmp_path / "l.csv", "utterance_id\nx\n"), "speaker")
    assert same_utterances(utterances, [Utterance("x")])


@pytest.mark.parametrize(
    "text",
    [
        "\ufeffutterance_id,emotion\nx, happy \n",
        "utterance_id,emotion\r\nx,happy\r\n",
        'emotion,text,utterance_id\n\nhappy,"a, ""b""\nc",x\n\n',
        " utterance_id , emotion \nx,happy",
    ],
)
def test_tolerates_what_spreadsheets_write(tmp_path: Path, text: str) -> None:
    (utterance,) = read_labels(write(tmp_path / "l.csv", text), "speaker")
    assert (utterance.id, utterance.emotion) == ("x", "happy")


def test_group_column_is_free_but_must_be_there(tmp_path: Path) -> None:
    path = write(tmp_path / "l.csv", "utterance_id,dialogue,\nx,d1,row\n")
    assert read_labels(path, "dialogue")[0].group == "d1"
    assert read_labels(path, "")[0].group == ""
    with pytest.raises(UserError, match="no column 'dialog'"):
        read_labels(path, "dialog")


HEAD = "utterance_id,emotion,valence,split,speaker,fold\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", ["empty"]),
        ("\n\n", ["empty"]),
        ("u0,happy,1\n", ["line 1", "utterance_id"]),
        ("utterance_id,emotion,emotion\n", ["line 1", "'emotion'"]),
        (HEAD + "u0,,,,,\nu1,,,,,\nu0,,,,,\n", ["line 4", "'u0'", "line 2"]),
        (HEAD + "u0,happy\n", ["line 2", "2 cells", "6 columns"]),
        (HEAD + "u0,,,,,,\n", ["line 2", "7 cells"]),
        (HEAD + "u0,,high,,,\n", ["line 2", "'high'"]),
        (HEAD + "u0,,inf,,,\n", ["line 2", "'inf'"]),
        (HEAD + "u0,,1e999,,,\n", ["line 2", "'1e999'"]),
        (HEAD + "u0,,,,,1.5\n", ["line 2", "'1.5'"]),
        (HEAD + "u0,,,,,-1\n", ["line 2", "'-1'"]),
        (HEAD + f"u0,,,,,{'9' * 5000}\n", ["line 2", "fold"]),
        (HEAD + "../u0,,,,,\n", ["line 2", "'../u0'"]),
        (HEAD + ",happy,,,,\n", ["line 2", "''"]),
        (HEAD + "u\0,,,,,\n", ["line 2", "u\\x00"]),
        (HEAD + "u0,a\0b,,,,\n", ["line 2", "a\\x00b"]),
        (HEAD + 'u0,"happy,,,,\nu1,sad,,,,\n', ["CSV"]),
        (HEAD + f"u0,{'x' * 200_000},,,,\n", ["CSV"]),
        ("utterance_id,emotion\nü,x\n".encode("latin-1"), ["UTF-8"]),
        ("utterance_id,emotion\nx,x\n".encode("utf-16"), ["UTF-8"]),
        (b"\x00\x01\x02\xff", ["UTF-8"]),
    ],
)
def test_refuses_with_file_line_and_value(tmp_path: Path, text: str | bytes, says: list[str]) -> None:
    path = write(tmp_path / "mine.csv", text)
    with pytest.raises(UserError) as caught:
        read_labels(path, "speaker")
    for words in ["mine.csv", *says]:
        assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_refuses_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.csv: no such file"):
        read_labels(tmp_path / "none.csv", "speaker")


def test_reads_back_exactly_what_was_written(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    values = [*rng.normal(size=200).tolist(), 0.1, -0.0, 1e-310, 1e9, float("nan")]
    words = ["", "happy", 'a "b"', "c,d", "快乐", "très", "#", "'", "=1+1"]
    written = tuple(
        Utterance(f" id,{i}\"'é", words[i % 9], value, words[i % 8] or "val", words[i % 7], i % 4 - 1)
        for i, value in enumerate(values)
    )
    write_labels(tmp_path / "l.csv", written)
    assert same_utterances(read_labels(tmp_path / "l.csv", "group"), written)


@needs_ravdess
def test_reads_ravdess() -> None:
    utterances = read_labels(RAVDESS / "labels.csv", "speaker")
    assert len(utterances) == 1440
    assert len({u.group for u in utterances}) == 24
    assert len({u.emotion for u in utterances}) == 8
    assert {u.fold for u in utterances} == {0, 1, 2, 3, 4}
    assert all(math.isnan(u.valence) for u in utterances)
