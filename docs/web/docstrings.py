"""Our docstrings as Markdown: ``::`` before a block goes, ``>>>`` lines become a block of code."""

import re
from typing import Any

import griffe


class Docstrings(griffe.Extension):
    """Rewrites each docstring before the API page shows it."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called for every object that is read."""
        if obj.docstring:
            obj.docstring.value = markdown(obj.docstring.value)


def markdown(docstring: str) -> str:
    """The docstring with its blocks as Markdown has them."""
    text = re.sub(r"(?m)^::\n", "", docstring)
    return re.sub(r"(?ms)^>>> .*?(?=\n\n|\Z)", r"```pycon\n\g<0>\n```", text)
