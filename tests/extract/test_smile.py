"""openSMILE's functionals, with a stand-in for the package, which not everybody has."""

import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from mer_lightning.config.extract import SmileConfig
from mer_lightning.errors import UserError
from mer_lightning.extract.smile import make
from tests.extract.models import speech


class Smile:
    """As opensmile.Smile: a table with one row for a signal."""

    def __init__(self, feature_set: str, feature_level: str) -> None:
        assert (feature_set, feature_level) == ("egemaps/v02", "func")

    def process_signal(self, signal: Any, sampling_rate: int) -> Any:
        assert sampling_rate == 16_000
        return np.array([[np.abs(signal).mean(), len(signal)]])


def encoder(name: str = "eGeMAPSv02") -> Any:
    return make("egemaps", SmileConfig(set=name), torch.device("cpu"), torch.float32)


def test_functionals_of_each_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    sets, levels = SimpleNamespace(eGeMAPSv02="egemaps/v02"), SimpleNamespace(Functionals="func")
    package = SimpleNamespace(Smile=Smile, FeatureSet=sets, FeatureLevel=levels, __version__="2.6.0")
    monkeypatch.setitem(sys.modules, "opensmile", package)
    clips = speech(0.5, 1.0)
    found = encoder().encode(clips)
    assert [f["egemaps"].tolist() for f in found] == [
        pytest.approx([np.abs(c).mean(), len(c)], rel=1e-6) for c in clips
    ]
    assert encoder().provenance == {
        "egemaps": {"encoder": "egemaps", "set": "eGeMAPSv02", "opensmile": "2.6.0"}
    }
    with pytest.raises(UserError, match=r"extract\.egemaps\.set=nothing: opensmile has no such set"):
        encoder("nothing")


def test_without_the_package_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opensmile", None)
    with pytest.raises(UserError, match=r"this needs opensmile: pip install 'mer-lightning\[smile\]'"):
        encoder()
