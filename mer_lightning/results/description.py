"""``model.json``: what a model is and what it needs, beside the files of its networks."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from mer_lightning.data.corpus import check_id
from mer_lightning.errors import UserError, reading
from mer_lightning.model.base import Architecture

FILE = "model.json"
REMEDY = "give another model, or train it again"
ENSEMBLES = ("posterior", "logit")
LONGEST_VALUE = 120  # of an extractor's setting, in a message

Extractors = Mapping[str, Mapping[str, Any]]  # feature set -> how it was made: JSON values, {} if unknown


class Member(NamedTuple):
    """One network of an ensemble on disk: its file's stem, its fold, its shares of the ensemble's weights."""

    file: str
    fold: int
    posterior_share: float
    valence_share: float


@dataclass(frozen=True)
class Description:
    """A model as data.

    features: feature set -> dimension, as its networks need them.
    valence: whether its training data had any valence; if not, the valences it predicts mean nothing.
    origin: which run it is of, for people.
    """

    classes: tuple[str, ...]
    ensemble: str
    networks: tuple[Member, ...]
    features: Mapping[str, int]
    extractors: Extractors = field(default_factory=dict)
    valence: bool = True
    origin: Mapping[str, Any] = field(default_factory=dict)


def needed_features(architectures: Iterable[Architecture]) -> dict[str, int]:
    """Feature set -> dimension, of all the networks together; the levels first."""
    every = list(architectures)
    levels = {name: d for a in every for name, d in a.levels.items()}
    return levels | {name: d for a in every for name, d in a.shared.items()}


def write_description(folder: Path, description: Description) -> None:
    """Write ``model.json``."""
    d = description
    text = {
        "schema": 1,
        "classes": list(d.classes),
        "valence": d.valence,
        "ensemble": d.ensemble,
        "features": {
            name: {"dimension": dimension, "extractor": dict(d.extractors.get(name, {}))}
            for name, dimension in d.features.items()
        },
        "networks": [member._asdict() for member in d.networks],
        "origin": dict(d.origin),
    }
    (folder / FILE).write_text(json.dumps(text, indent=1, ensure_ascii=False), encoding="utf-8")


def read_description(folder: Path) -> Description:
    """The description of the model in ``folder``. UserError if there is none, or it is damaged or unsafe."""
    path = folder / FILE
    if not path.is_file():
        raise UserError(f"{folder}: no model here; give a finished run's directory or its model folder")
    with reading(path, REMEDY):
        return _parsed(json.loads(path.read_text(encoding="utf-8")), str(path))


def _parsed(data: dict[str, Any], where: str) -> Description:
    features = _of_kind(dict, data.get("features", {}))  # absent in models of before it was kept
    return Description(
        classes=tuple(_of_kind(str, name) for name in data["classes"]),
        ensemble=_one_of(ENSEMBLES, data["ensemble"]),
        networks=tuple(_member(Member(**entry), where) for entry in data["networks"]),
        features={name: _of_kind(int, entry["dimension"]) for name, entry in features.items()},
        extractors={name: _of_kind(dict, entry["extractor"]) for name, entry in features.items()},
        valence=_of_kind(bool, data.get("valence", True)),
        origin=_of_kind(dict, data.get("origin", {})),
    )


def _member(member: Member, where: str) -> Member:
    check_id(_of_kind(str, member.file), where)  # a file's name must not leave the folder
    posterior, valence = float(member.posterior_share), float(member.valence_share)
    if not (0 <= posterior < math.inf and 0 <= valence < math.inf):
        raise ValueError(f"shares {posterior} and {valence}")
    return Member(member.file, _of_kind(int, member.fold), posterior, valence)


def _of_kind(kind: type, value: Any) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"expected a {kind.__name__}, found {str(value)[:40]!r}")
    return value


def _one_of(options: Sequence[str], value: Any) -> str:
    if value not in options:
        raise ValueError(f"expected one of {', '.join(options)}, found {str(value)[:40]!r}")
    return str(value)


def check_extractors(needed: Extractors, given: Extractors, where: str) -> None:
    """A UserError for the first feature set that was made in another way than the model needs.

    What one side does not say passes; but two that say nothing of the same kind are not the same.

    Args:
        needed: of the model, as ``Predictor.extractors``.
        given: of the features it is to decide on.
        where: what holds those features.
    """
    for name in (n for n in needed if n in given):
        ours, theirs = _known(needed[name]), _known(given[name])
        if not (ours and theirs):
            continue
        common = [key for key in ours if key in theirs]
        same = {key for key in common if ours[key] == theirs[key]}
        if "weights" in same:
            same |= {"model", "revision"}  # names of the weights, which differ from machine to machine
        different = [key for key in common if key not in same]
        if different or not common:
            raise UserError(
                f"the model needs {name} with {_listed(ours, different or ours)}, {where} has "
                f"{_listed(theirs, different or theirs)}; give features made as the model's were"
            )


def _known(extractor: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in extractor.items() if value is not None}


def _listed(extractor: Mapping[str, Any], keys: Iterable[str]) -> str:
    return ", ".join(f"{key} {_shown(extractor[key])}" for key in keys)


def _shown(value: Any) -> str:
    return (repr(value) if isinstance(value, str) else json.dumps(value))[:LONGEST_VALUE]
