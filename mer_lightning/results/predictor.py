"""A trained model at work: ``load`` a run or its ``model`` folder, ``predict`` from features."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mer_lightning.data.corpus import count_missing
from mer_lightning.data.standardise import by_speaker
from mer_lightning.errors import UserError
from mer_lightning.model.base import Decision
from mer_lightning.model.checkpoint import Trained, read_network
from mer_lightning.model.decisions import EnsembleWeights, ensemble_decision, union
from mer_lightning.model.priors import with_priors
from mer_lightning.results.description import FILE, REMEDY, Extractors, needed_features, read_description
from mer_lightning.results.hub import model_folder
from mer_lightning.results.prediction import Prediction


@dataclass(frozen=True)
class Predictor:
    """The networks of a run's chosen round, one per fold (or of several runs); together they decide.

    extractors: feature set -> how the features it was trained on were made; {} where that is not known.
    has_valence: whether its training data had any valence; if not, those it predicts mean nothing.
    without: feature sets that it does without, as if every utterance lacked them.
    standardise: ``speaker``: it was trained on features that each speaker's own clips standardised.
    trained_priors: of the emotions in training; empty: not known.
    priors: of the emotions in what it decides on; empty: as in training.
    """

    classes: tuple[str, ...]
    members: tuple[Trained, ...]
    weights: EnsembleWeights
    ensemble: str
    extractors: Extractors = field(default_factory=dict)
    has_valence: bool = True
    without: tuple[str, ...] = ()
    standardise: str = "train"
    trained_priors: tuple[float, ...] = ()
    priors: tuple[float, ...] = ()

    @property
    def features(self) -> dict[str, int]:
        """Feature set -> dimension, as ``predict`` needs them; the levels first."""
        return {name: d for name, d in self._trained_on.items() if name not in self.without}

    @cached_property  # every prediction asks for it, and finding the widths of a network takes a millisecond
    def _trained_on(self) -> dict[str, int]:
        return needed_features(m.network.architecture for m in self.members)

    def doing_without(self, names: Iterable[str]) -> "Predictor":
        """The same model for utterances that lack these feature sets, too: their training mean stands in.

        Raises UserError for a name that is none of the model's, or if no set is left.
        """
        without, known = tuple(dict.fromkeys((*self.without, *names))), self._trained_on
        for name in without:
            if name not in known:
                raise UserError(f"without {name}: the model has the feature sets {', '.join(known)}")
        if not known.keys() - set(without):
            raise UserError(f"without {', '.join(without)}: the model has no other feature set to decide by")
        return replace(self, without=without)

    @property
    def branch_names(self) -> tuple[str, ...]:
        """Of the branches that a prediction's weights are for."""
        return union([m.network.branch_names for m in self.members])

    def with_priors(self, priors: Callable[[Tensor], Tensor]) -> "Predictor":
        """The same model where the emotions have the (C,) priors that a function makes of training's."""
        if not self.trained_priors:
            raise UserError("priors: the model does not say those of its training; train it again")
        return replace(self, priors=tuple(priors(torch.tensor(self.trained_priors)).tolist()))

    def prepared(
        self, features: Mapping[str, NDArray[Any]], speakers: Sequence[str] = ()
    ) -> Mapping[str, NDArray[Any]]:
        """Raw features (B, D) as ``decide`` takes them: standardised by speaker, if the model was trained so.

        Raises UserError where that needs speakers, and there are none.
        """
        if self.standardise != "speaker":
            return features
        if not any(speakers):
            raise UserError(
                "the model was trained on features standardised by speaker, and no speaker is known here: "
                "give a feature folder or store whose labels.csv says the speakers, or a model trained with "
                "data.standardise=train"
            )
        known = {name: features[name] for name in self.features if name in features}
        return by_speaker(known, speakers, "give several clips of every speaker, with its name")

    def predict(self, features: Mapping[str, NDArray[Any]], speakers: Sequence[str] = ()) -> Prediction:
        """Emotion and valence of B utterances.

        Args:
            features: feature set -> (B, D), raw: the model standardises them itself. A row that is wholly
                NaN is missing: the utterance has no such features. More sets than the model needs do no
                harm. A set that no utterance has must be said: see ``doing_without``.
            speakers: of each of the B utterances, for a model whose ``standardise`` is ``speaker``: a
                speaker's utterances are standardised together.

        Raises:
            UserError: a set is not given, its shape or values are wrong, or so extreme that no decision
                comes of them.
        """
        return Prediction.of(self.decide(self.prepared(features, speakers)), self.classes)

    @torch.no_grad()
    def decide(self, features: Mapping[str, NDArray[Any]]) -> Decision:
        """As ``predict``, with what each branch says, of features that are ``prepared``."""
        tensors = self._checked(features)
        decisions = [m.network(m.standardisation(tensors)) for m in self.members]
        names = [m.network.branch_names for m in self.members]
        decision = ensemble_decision(decisions, self.weights, self.ensemble, names)
        if self.priors:
            trained, priors = torch.tensor(self.trained_priors), torch.tensor(self.priors)
            decision = decision._replace(log_posterior=with_priors(decision.log_posterior, trained, priors))
        refuse_no_numbers(decision.posterior, decision.valence)
        return decision

    def _checked(self, features: Mapping[str, NDArray[Any]]) -> dict[str, Tensor]:
        tensors: dict[str, Tensor] = {}
        for name, dimension in self.features.items():
            if name not in features:
                raise UserError(f"the model needs the feature set {name!r}; given: {sorted(features)}")
            with np.errstate(over="ignore"):  # what float32 cannot hold is refused as infinite
                array = np.require(features[name], np.float32, "W")
            if array.ndim != 2 or array.shape[1] != dimension:
                raise UserError(f"feature set {name!r}: expected shape (B, {dimension}), found {array.shape}")
            count_missing(name, array, "the features to predict from")  # refuses what is NaN in part
            tensors[name] = torch.from_numpy(array)
        if len({len(t) for t in tensors.values()}) > 1:
            raise UserError(f"feature sets differ in rows: { {k: len(v) for k, v in tensors.items()} }")
        rows = len(next(iter(tensors.values())))
        return tensors | {name: torch.full((rows, self._trained_on[name]), math.nan) for name in self.without}


def refuse_no_numbers(posterior: Tensor, valence: Tensor) -> None:
    """A UserError for the first row whose posterior (B, C) or valence (B,) is NaN or infinite."""
    bad = (~(posterior.isfinite().all(dim=-1) & valence.isfinite())).nonzero()
    if len(bad):
        raise UserError(
            f"no finite decision for row {int(bad[0])} (counted from 0) of the features: extreme there, "
            "or the model is damaged; fix or remove that utterance"
        )


def load(path: str | Path, fold: int | None = None, revision: str | None = None) -> Predictor:
    """The model of a finished run (its directory, or its ``model`` folder), or of the Hugging Face hub.

    Args:
        path: a folder, or ``hf://OWNER/NAME``, which is taken from the hub's local cache or fetched.
        fold: take this fold alone; None: all folds together, as the test figures report.
        revision: of a model on the hub: a commit, tag or branch.

    Raises:
        UserError: no model there, a damaged one, or no such fold.
    """
    folder = model_folder(path, revision)
    d = read_description(folder)
    chosen = [m for m in d.networks if fold in (None, m.fold)]
    if not chosen:
        raise UserError(f"{path}: no fold {fold}; the model has folds {sorted({m.fold for m in d.networks})}")
    weights = EnsembleWeights(
        torch.tensor([m.posterior_share for m in chosen]), torch.tensor([m.valence_share for m in chosen])
    )
    if not all(0 < float(w.sum()) < math.inf for w in weights):
        raise UserError(f"{folder / FILE}: its networks' shares sum to no positive number; {REMEDY}")
    members = tuple(read_network(folder / m.file) for m in chosen)
    features = needed_features(m.network.architecture for m in members)
    each = [item for m in members for item in needed_features([m.network.architecture]).items()]
    if any(features[name] != n or d.features.get(name, n) != n for name, n in each):
        raise UserError(f"{folder / FILE}: its features are not those of the networks beside it; {REMEDY}")
    if any(m.network.architecture.classes != len(d.classes) for m in members):
        raise UserError(f"{folder / FILE}: its emotions are not those of the networks beside it; {REMEDY}")
    extractors = {name: d.extractors.get(name, {}) for name in features}
    if len(d.priors) not in (0, len(d.classes)):
        raise UserError(f"{folder / FILE}: {len(d.priors)} priors for {len(d.classes)} emotions; {REMEDY}")
    return Predictor(
        d.classes, members, weights, d.ensemble, extractors, d.valence,
        standardise=d.standardise, trained_priors=d.priors,
    )  # fmt: skip
