"""JSON comes back as what was written, or is refused in one line."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from mer_lightning.errors import UserError
from mer_lightning.files.strict_json import as_json, read_json


@dataclass(frozen=True)
class Inner:
    score: float | None
    sizes: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Outer:
    schema: Literal[1] = 1
    name: str
    inner: dict[str, list[Inner]]
    anything: dict[str, Any]

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("it has no name")


WHOLE = Outer(name="ünï", inner={"a": [Inner(0.5, (1, 2)), Inner(None, ())]}, anything={"x": [{"y": None}]})


def test_what_was_written_comes_back(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(as_json(WHOLE), encoding="utf-8")
    assert read_json(tmp_path / "x.json", Outer, "write it again") == WHOLE


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('"score": 0.5', '"score": "0.5"', r"inner\.a\.0\.score: "),
        ('"score": 0.5', '"score": true', r"inner\.a\.0\.score: "),
        ('"score": 0.5', '"score": NaN', r"inner\.a\.0\.score: .*finite"),
        ('"score": 0.5', '"score": 1e999', r"inner\.a\.0\.score: .*finite"),
        ('"score": 0.5,', "", r"inner\.a\.0\.score: .*required"),
        ('"score": 0.5', '"score": 0.5, "more": 1', r"inner\.a\.0\.more: "),
        ("2\n", "2.0\n", r"inner\.a\.0\.sizes\.1: "),
        ("2\n", "true\n", r"inner\.a\.0\.sizes\.1: "),
        ('"schema": 1', '"schema": 2', "schema: "),
        ('"ünï"', '""', "it has no name"),
        ('"ünï"', '"\\ud800"', "Invalid JSON"),
        ("null", "[" * 100_000, "Invalid JSON"),
        ("null", "9" * 10_000, "Invalid JSON"),
        ("{", "", "Invalid JSON"),
    ],
)
def test_what_is_something_else_is_refused_with_its_place(
    tmp_path: Path, old: str, new: str, says: str
) -> None:
    text = as_json(WHOLE).replace(old, new, 1)
    assert text != as_json(WHOLE)
    (tmp_path / "x.json").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=rf"x\.json: .*{says}.*; write it again$") as caught:
        read_json(tmp_path / "x.json", Outer, "write it again")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[]", b"null"])
def test_what_is_no_such_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.json").write_bytes(content)
    for path in (tmp_path / "x.json", tmp_path / "absent.json", tmp_path):
        with pytest.raises(UserError, match="cannot be read"):
            read_json(path, Outer, "write it again")
