"""PNAO is a library of its own: it imports nothing else of the package, nor more than it says it needs."""

import ast
import doctest
import importlib
import os
import pkgutil
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import torch

import mer_lightning
from mer_lightning import pnao

FOLDER = Path(pnao.__file__).parent
NEEDED = ("torch", "lightning", "safetensors", "numpy")
MODULES = [f"{pnao.__name__}.{found.name}" for found in pkgutil.iter_modules([str(FOLDER)])]


def imports(path: Path) -> set[str]:
    """The modules that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import"
            found.add(node.module or "")
    return found


def test_it_imports_nothing_else_of_the_package() -> None:
    allowed = {*NEEDED, *sys.stdlib_module_names}
    for path in FOLDER.rglob("*.py"):
        for name in imports(path):
            ours = name == pnao.__name__ or name.startswith(f"{pnao.__name__}.")
            assert ours or name.partition(".")[0] in allowed, f"{path.name} imports {name}"


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_run(name: str) -> None:
    module = importlib.import_module(name)
    found = doctest.testmod(module, extraglobs={"torch": torch, **vars(pnao)})
    assert not found.failed


def distributions(names: tuple[str, ...]) -> set[str]:
    """The named distributions, and all that they need without extras."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in found:
            continue
        found.add(name)
        for requirement in metadata.requires(name) or ():
            if "extra ==" not in requirement:
                other = re.match(r"[\w.-]+", requirement)
                assert other is not None
                if any(True for _ in metadata.distributions(name=other[0])):
                    waiting.append(other[0])
    return found


PROGRAM = """
import importlib.util, sys
import lightning as L, torch
from torch import nn
from mer_lightning.pnao import PNAO, chain
for name in ("hydra", "omegaconf", "transformers", "wandb", "scipy", "sklearn", "rich", "matplotlib"):
    assert importlib.util.find_spec(name) is None, name

class Module(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1))
    def forward(self, x):
        return self.net(x)
    def training_step(self, batch, batch_idx):
        return self(batch).square().mean()
    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self(batch).square().mean())
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)

module, loader = Module(), torch.utils.data.DataLoader(torch.randn(8, 3), 4)
pnao = PNAO(chain("net.0", "net.2"), rate=0.9, rounds=1, max_share=0.5, dirpath=sys.argv[1])
for number in pnao.rounds(module):
    trainer = L.Trainer(max_epochs=1, callbacks=[pnao], logger=False, enable_checkpointing=False)
    trainer.fit(module, loader, loader)
again = PNAO.load(Module(), sys.argv[1], nodes=chain("net.0", "net.2"))
assert again.net[0].out_features == module.net[0].out_features < 8
assert not [name for name in sys.modules if name.startswith("mer_lightning.") and "pnao" not in name]
print("works")
"""


def test_it_works_with_what_it_needs_alone(tmp_path: Path) -> None:
    """A folder of links to the needed distributions is all that this interpreter can import from."""
    site = tmp_path / "site"
    site.mkdir()
    for name in distributions(NEEDED):
        for file in metadata.files(name) or ():
            if file.parts[0] not in ("..", "__pycache__") and not (site / file.parts[0]).exists():
                (site / file.parts[0]).symlink_to(metadata.distribution(name).locate_file(file.parts[0]))
    (site / "mer_lightning").mkdir()
    (site / "mer_lightning" / "__init__.py").symlink_to(Path(mer_lightning.__file__))
    (site / "mer_lightning" / "pnao").symlink_to(FOLDER)
    environment = {**os.environ, "PYTHONPATH": str(site)}
    command = [sys.executable, "-S", "-c", PROGRAM, str(tmp_path / "rounds")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert (done.returncode, done.stdout.split()[-1:]) == (0, ["works"]), done.stderr
