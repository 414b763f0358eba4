"""The examples in the docstrings of public functions are true."""

import doctest
from importlib import import_module

import pytest
import torch

MODULES = ("compact", "importance", "masks", "nodes")


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    from mer_lightning.pnao import chain

    module = import_module(f"mer_lightning.pnao.{name}")
    done = doctest.testmod(module, extraglobs={"torch": torch, "chain": chain})
    assert done.attempted
    assert not done.failed
