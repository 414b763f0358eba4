"""Dataclasses as JSON, and back from JSON that may be a stranger's, or damaged."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from mer_lightning.errors import reading

T = TypeVar("T")


def as_json(record: Any) -> str:
    """A dataclass of JSON values as the text of a file."""
    return json.dumps(asdict(record), indent=1, ensure_ascii=False) + "\n"


def read_json(path: Path, kind: type[T], remedy: str) -> T:
    """The content of a JSON file as a ``kind``: a dataclass of JSON values, of any depth.

    Nothing is converted (``"1"`` and ``true`` are no numbers), numbers are finite, and no key is missing or
    unknown. Raises UserError, naming the file, what is wrong in it and the ``remedy``.
    """
    from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config  # late: not for --help

    strict = with_config(ConfigDict(strict=True, extra="forbid", allow_inf_nan=False))
    adapter = TypeAdapter(strict(kind))
    with reading(path, remedy):
        try:
            return adapter.validate_json(path.read_bytes())
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(map(str, first["loc"]))
            raise ValueError(f"{place}: {first['msg']}" if place else first["msg"]) from None
