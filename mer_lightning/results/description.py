"""``model.json``: what a model is and what it needs, beside the files of its networks."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeFloat

from mer_lightning.data.corpus import check_id
from mer_lightning.errors import UserError
from mer_lightning.files.checksums import check_whole
from mer_lightning.files.strict_json import read_json
from mer_lightning.model.base import Architecture

FILE = "model.json"
REMEDY = "give another model, or train it again"
LONGEST_VALUE = 120  # of an extractor's setting, in a message

Extractors = Mapping[str, Mapping[str, Any]]  # feature set -> how it was made: JSON values, {} if unknown


@dataclass(frozen=True)
class Member:
    """One network of an ensemble on disk: its file's stem, its fold, its shares of the ensemble's weights."""

    file: str
    fold: int
    posterior_share: NonNegativeFloat
    valence_share: NonNegativeFloat


@dataclass(frozen=True, kw_only=True)
class Description:
    """A model as data, and ``model.json``.

    features: feature set -> dimension, as its networks need them.
    standardise: as ``data.standardise`` in training.
    priors: of each emotion in training, as the networks' posteriors have them; empty: not known.
    valence: whether its training data had any valence; if not, the valences it predicts mean nothing.
    origin: which run it is of, for people.
    """

    schema: Literal[1] = 1
    classes: tuple[str, ...]
    valence: bool
    ensemble: Annotated[str, Field(pattern="^(posterior|logit)$")]
    features: Mapping[str, int]
    extractors: Extractors
    networks: tuple[Member, ...]
    origin: Mapping[str, Any]
    standardise: Annotated[str, Field(pattern="^(train|speaker)$")] = "train"
    priors: tuple[NonNegativeFloat, ...] = ()


def needed_features(architectures: Iterable[Architecture]) -> dict[str, int]:
    """Feature set -> dimension, of all the networks together; the levels first."""
    every = list(architectures)
    levels = {name: d for a in every for name, d in a.levels.items()}
    return levels | {name: d for a in every for name, d in a.shared.items()}


def read_description(folder: Path) -> Description:
    """The description of the model in ``folder``. UserError if there is none, or it is damaged or unsafe."""
    path = folder / FILE
    if not path.is_file():
        raise UserError(f"{folder}: no model here; give a finished run's directory or its model folder")
    check_whole(path, REMEDY)
    description = read_json(path, Description, REMEDY)
    for member in description.networks:
        check_id(member.file, str(path))  # a file's name must not leave the folder
    return description


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
