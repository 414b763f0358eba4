"""The page of the public names, filled by mkdocstrings from their docstrings."""

from types import ModuleType

import mer_lightning
from mer_lightning import plugins, pnao

MEMBERS = {  # what a user calls; the rest is Lightning's
    "EmotionMetrics": ["update", "compute"],
    "EmotionModule": ["for_data"],
    "Predictor": ["predict"],
    "PNAO": ["rounds", "load"],
}


def page() -> str:
    """Markdown with a ``:::`` for each name."""
    text = ["# Python API", *names(mer_lightning, "At work: [From Python](python.ipynb).")]
    text += names(pnao, "A library of its own: [PNAO on your own module](pnao.md).")
    listed = (plugins.__doc__ or "").partition("\n- ")[2]
    text += ["## `mer_lightning.plugins`", f"- {listed}", "How to write one: [Your own parts](extending.md)."]
    return "\n\n".join(text)


def names(package: ModuleType, about: str) -> list[str]:
    """The section of a package."""
    here = package.__name__
    text = [f"## `{here}`", about]
    for name in sorted(package.__all__, key=str.lower):
        if name == "PNAO" and package is mer_lightning:  # in its own package
            continue
        text.append(f"::: {here}.{name}\n    options: {{members: {MEMBERS.get(name, [])}}}")
    return text
