"""A user's module brings parts: from then on they are names like ours, in every place and process."""

import json
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf

from mer_lightning import EmotionModule, FeatureDataModule, load
from mer_lightning.config.identity import recorded
from mer_lightning.config.mistakes import users_mistake
from mer_lightning.config.registry import FUSIONS
from mer_lightning.config.unused import unused
from mer_lightning.errors import UserError
from mer_lightning.extract.registry import make_encoders
from mer_lightning.files.checksums import write_checksums
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.model.base import Architecture
from mer_lightning.model.hierarchical import HierarchicalNetwork
from mer_lightning.plugins import encoder, network
from mer_lightning.report.report import write_report
from mer_lightning.tasks import fit
from tests.conftest import SMALL, composed
from tests.reliability.kills import contents

PLUGIN = "plugins=[my_parts]"
OWN = (
    PLUGIN, "fusion=sharp", "fusion.power=3", "loss=tilted", "pnao.criterion=taylor", "pnao.batches=1",
    "trainer.optimizer=sgd", "trainer.momentum=0.8", "data=noise", "data.root=.", "data.width=6",
    "data.levels=[a,b]", "data.shared=[c]", "data.folds=2",
)  # fmt: skip
JOB = ("+experiment=pnao", *SMALL, "pnao.rounds=1", *OWN)


def cli(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mer_lightning", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)


def test_typed_keys_of_their_own(here: Path) -> None:
    config = composed(*OWN)
    assert (config.fusion.power, config.trainer.momentum, config.data.width) == (3.0, 0.8, 6)
    assert composed(PLUGIN).fusion.power == 2.0
    settings = {"fusion.power", "trainer.momentum", "pnao.batches", "data.width"}
    for chosen, idle in ((composed(PLUGIN), settings), (config, set())):
        assert settings & unused(OmegaConf.structured(chosen)).keys() == idle
    assert recorded(config)["plugins"]["my_parts"].startswith("1.2 sha256:")
    with pytest.raises(UserError, match=r"fusion\.kind=shrp.*did you mean 'sharp'"):
        composed(PLUGIN, "fusion.kind=shrp")
    for override, told in [
        ("fusion.pwer=3", r"unknown configuration key fusion\.pwer; did you mean fusion\.power\?"),
        ("fusion.power=x", r"fusion\.power=x: Value 'x' of type 'str' could not be converted to Float"),
    ]:
        with pytest.raises(Exception, match=r".") as caught:
            composed(PLUGIN, override)
        assert re.match(told, users_mistake(caught.value) or "")


def test_without_the_plugin_its_keys_are_unknown() -> None:
    for override in ("fusion=sharp", "fusion.power=3", "trainer.optimizer=sgd"):
        with pytest.raises(Exception, match=r"sharp|power|sgd"):
            composed(override)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "no module 'mine' in the working directory"),
        ("import nowhere", "mine cannot be imported: No module named 'nowhere'"),
        ("1 / 0", "mine cannot be imported: ZeroDivisionError"),
        (
            "from mer_lightning.plugins import fusion\n@fusion('entropy')\nclass Mine: pass",
            "fusion.kind=entropy is taken",
        ),
    ],
)
def test_a_plugin_that_cannot_be_had_is_a_users_mistake(here: Path, content: str | None, told: str) -> None:
    if content is not None:
        (here / "mine.py").write_text(content)
    try:
        with pytest.raises(UserError, match=re.escape(told)):
            composed("plugins=[mine]")
    finally:
        sys.modules.pop("mine", None)
    with pytest.raises(UserError, match="expected the name of a module"):
        composed("plugins=['../mine']")


def test_the_main_job_in_two_workers(here: Path) -> None:
    done = cli(*JOB, "folds.workers=2", "hydra.run.dir=once", cwd=here)
    assert done.returncode == 0, done.stderr
    run = RunDirectory(here / "once")
    results = run.read_results()
    assert results.rounds[1].parameters < results.rounds[0].parameters
    assert results.versions["plugin my_parts"].startswith("1.2 sha256:")
    assert "plugin my_parts 1.2" in run.report.read_text(encoding="utf-8")

    write_report(here)
    assert "fusion.kind=sharp" in (here / "report" / "index.html").read_text(encoding="utf-8")
    with pytest.raises(UserError, match=r"fusion\.kind=sharp of the plugin my_parts.*plugins=\[my_parts\]"):
        load(run.path)
    assert "my_parts" not in sys.modules
    composed(PLUGIN)
    features = {name: np.ones((3, 6), np.float32) for name in "abc"}
    assert load(run.path).predict(features).weights.shape == (3, 2)
    exported = cli(PLUGIN, "task=export", "model=once", "output=x.pt2", "format=torch", cwd=here)
    assert exported.returncode == 0, exported.stderr

    (here / "my_parts.py").write_text((here / "my_parts.py").read_text() + "\n# changed\n")
    run.results.unlink()
    changed = cli(*JOB, "hydra.run.dir=once", cwd=here)
    assert "plugins.my_parts: 1.2 sha256:" in changed.stderr
    assert changed.returncode == 1


@pytest.mark.soak
@pytest.mark.parametrize(
    "settings",
    [
        ("folds.workers=2",),
        ("trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu", "folds.workers=auto"),
    ],
)
def test_the_main_job_killed_and_continued(here: Path, settings: tuple[str, ...]) -> None:
    done = cli(*JOB, *settings, "hydra.run.dir=once", cwd=here)
    assert (done.returncode, done.stderr) == (0, "")
    once, run = RunDirectory(here / "once"), RunDirectory(here / "twice")
    killed_and_continued(run, *settings)
    assert contents(run.path) == contents(once.path)
    results = run.read_results()
    assert results.rounds[1].parameters < results.rounds[0].parameters


def killed_and_continued(run: RunDirectory, *settings: str) -> None:
    """The main job, all its processes killed once a fold's round 0 is there; then the same command again."""
    arguments = (*JOB, *settings, f"hydra.run.dir={run.path.name}")
    command, quiet = [sys.executable, "-m", "mer_lightning", *arguments], subprocess.DEVNULL
    process = subprocess.Popen(
        command, cwd=run.path.parent, stdout=quiet, stderr=quiet, start_new_session=True
    )
    while process.poll() is None and not (run.round(0, 0).done or run.round(1, 0).done):
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not run.finished
    done = cli(*arguments, cwd=run.path.parent)
    assert done.returncode == 0, done.stderr


def test_a_sweep_over_its_setting_in_other_processes(here: Path) -> None:
    given = (PLUGIN, "fusion=sharp", "trainer.epochs=1", "network.dimension=8", "data.folds=2")
    side_by_side = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "hydra.sweep.dir=sweep")
    done = cli("-m", "+experiment=enf", "fusion.power=1,4", *given, *side_by_side, cwd=here)
    assert done.returncode == 0, done.stderr
    assert len([*here.glob("sweep/*/results.json")]) == 2


def test_a_configuration_survives_pickling_into_a_process_without_the_plugin(here: Path) -> None:
    (here / "config.pickle").write_bytes(pickle.dumps(composed(*OWN)))
    code = (
        "import pickle; c = pickle.load(open('config.pickle', 'rb'));"
        "from mer_lightning.config.registry import FUSIONS; print(c.fusion.power, 'sharp' in FUSIONS)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=here, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["3.0", "True"]


def test_from_python(here: Path) -> None:
    composed(PLUGIN)
    data = FeatureDataModule(reader="noise", root=".", levels=["a", "b"], shared=["c"], width=5, folds=2)
    module = EmotionModule.for_data(data, fusion="sharp", power=5.0, optimizer="sgd", momentum=0.5)
    assert module.network.fusion.power == 5.0
    assert data.corpus.dimensions == {"a": 5, "b": 5, "c": 5}


@pytest.mark.usefixtures("here")
def test_a_network_and_an_encoder() -> None:
    @network("steep")
    class Steep(HierarchicalNetwork):
        def __init__(self, architecture: Architecture, slope: float = 1.0) -> None:
            super().__init__(architecture)
            self.slope = slope

    @encoder("loud")
    class Loud:
        source = "speech"

        def __init__(self, device: object, dtype: object, gain: float = 1.0) -> None:
            self.gain = gain

    config = composed("network=steep", "network.slope=2", "extract.features=[loud]", "extract.gain=3")
    assert config.network.slope == 2.0
    module = EmotionModule(levels={"a": 3}, classes=["x", "y"], network="steep", slope=2.0)
    assert module.network.slope == 2.0
    assert module.network.architecture.plugins == {"network.kind": __name__}
    assert module.node_groups().groups
    (made,) = make_encoders(config.extract)
    assert made.gain == 3.0


def test_an_experiment_of_the_users_names_its_plugins(here: Path) -> None:
    (here / "conf" / "experiment").mkdir(parents=True)
    (here / "conf" / "experiment" / "mine.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /fusion: sharp\nplugins: [my_parts]\n"
        "experiment_name: mine\nfusion: {power: 7}\n"
    )
    for where in ("--config-dir=conf", "hydra.searchpath=[conf]", f"hydra.searchpath=[file://{here}/conf]"):
        done = cli(where, "+experiment=mine", "--cfg", "job", cwd=here)
        assert "experiment_name: mine" in done.stdout, done.stderr
        assert "power: 7.0" in done.stdout


@pytest.mark.parametrize("plugin", ["my_parts", "os.system('x')", ""])
def test_a_strangers_model_imports_nothing(
    here: Path, trained_model: Callable[[], Path], plugin: str
) -> None:
    model = trained_model()
    (here / "my_parts.py").write_text("open('owned', 'w')\n")
    for path in model.glob("fold_*.json"):
        description = json.loads(path.read_text())
        description |= {"fusion": "sharp", "plugins": {"fusion.kind": plugin}}
        path.write_text(json.dumps(description))
    write_checksums(model)
    with pytest.raises(UserError, match="my_parts" if plugin == "my_parts" else "possibly corrupt"):
        load(model)
    assert "sharp" not in FUSIONS
    assert not (here / "owned").exists()


@pytest.fixture
def trained_model(here: Path, small: Callable[..., object]) -> Callable[[], Path]:
    def train() -> Path:
        run = RunDirectory(here / "run")
        fit.run(small("pnao.rounds=0", "trainer.epochs=1"), run)  # type: ignore[arg-type]
        return run.model

    return train


def test_nothing_counts_that_lies_in_a_run(here: Path, trained_model: Callable[[], Path]) -> None:
    run = trained_model().parent
    (here / "my_parts.py").write_text("open('owned', 'w')\n")
    (run / "mine" / "experiment").mkdir(parents=True)
    evil = "# @package _global_\nplugins: [my_parts]\n"
    (run / "mine" / "experiment" / "evil.yaml").write_text(evil)
    saved = run / "config.yaml"
    saved.write_text(saved.read_text().replace("plugins: {}", "plugins: {my_parts: x}"))
    for where in ("--config-dir=run/mine", "hydra.searchpath=[run/mine]", "--config-dir=run/model"):
        done = cli(where, "+experiment=evil", "--cfg", "job", cwd=here)
        assert done.returncode == 1
        assert "lies in the run or model" in done.stderr
    again = cli("task=report", "report.runs=run", cwd=here)
    assert again.returncode == 0, again.stderr
    assert not (here / "owned").exists()
