"""What is fuzzed: pristine files, how they may be damaged, and the part of the program that reads them."""

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from unittest.mock import patch

import numpy as np

from mer_lightning import load
from mer_lightning.config.schema import Config
from mer_lightning.data.corpus import check_id
from mer_lightning.data.readers.mertools import read_label_npz
from mer_lightning.data.readers.registry import read_corpus
from mer_lightning.data.readers.store import read_store, write_store
from mer_lightning.errors import UserError
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.pnao.store import write_checksums
from mer_lightning.report.page import run_page
from mer_lightning.report.report import write_report
from mer_lightning.report.runs import find_runs
from mer_lightning.report.systems import data_sets
from mer_lightning.tasks import fit, predict
from tests.conftest import SMALL, composed, folder_overrides, write_folder
from tests.reliability.judge import FoundError, commanded, quiet
from tests.reliability.mutations import (
    Bytes,
    csv_damaged,
    damaged,
    json_damaged,
    npy_damaged,
    npz_damaged,
    numbers_damaged,
    overrides_damaged,
    safetensors_damaged,
    yaml_bomb,
    yaml_damaged,
)

BY_SUFFIX: dict[str, tuple[Bytes, ...]] = {
    ".csv": (damaged, csv_damaged, csv_damaged),
    ".npy": (damaged, npy_damaged, numbers_damaged),
    ".npz": (damaged, npz_damaged, npz_damaged, npz_damaged),
    ".json": (damaged, json_damaged, json_damaged),
    ".safetensors": (damaged, safetensors_damaged),
    ".yaml": (damaged, yaml_damaged, yaml_bomb),
    ".overrides": (damaged, overrides_damaged, overrides_damaged),
}
# What users write themselves is read by Hydra, which multiplies aliases as it is told.
OWN_YAML: dict[str, tuple[Bytes, ...]] = {".yaml": (damaged, yaml_damaged, yaml_damaged)}


@dataclass(frozen=True)
class Target:
    """One kind of input: a folder to copy, and what is done with a copy in which one file is damaged."""

    name: str
    pristine: Path
    call: Callable[[Path], object]
    patterns: Sequence[str] = ("**/*",)  # the files that are damaged
    share: int = 1  # of the cases
    mutations: Mapping[str, tuple[Bytes, ...]] = field(default_factory=lambda: BY_SUFFIX)

    def case(self, rng: Random, work: Path) -> str:
        """Make the damaged copy at ``work``; says which file was damaged, and how."""
        shutil.copytree(self.pristine, work)
        files = sorted(
            {p for pattern in self.patterns for p in work.glob(pattern) if p.suffix in self.mutations}
        )
        path = rng.choice(files)
        mutation = rng.choice(self.mutations[path.suffix])
        path.write_bytes(mutation(rng, path.read_bytes()))
        if rng.random() < 0.7:
            mend_digests(work)
        return f"{path.relative_to(work)} {mutation.__name__}"


def mend_digests(work: Path) -> None:
    """Write beside files what their digests now are, as someone with bad intent would."""
    for path in work.rglob("SHA256SUMS"):
        write_checksums(path.parent)


class Bench:
    """A tiny data set and a run on it, and every target made of them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.data = write_folder(root / "data", n=60)
        self.config = composed(*folder_overrides(self.data), *SMALL, "pnao.rounds=1", "trainer.epochs=1")
        self.run = RunDirectory(root / "home" / "run")
        with quiet(), patch.object(fit, "write_run_report", without_figures):
            fit.run(self.config, self.run)
        self.features = {name: np.load(self.data / f"{name}.npy") for name in ("low", "high", "face")}

    def targets(self) -> list[Target]:
        store, archive, unfinished, resumed = (
            self.root / n for n in ("store", "npz", "unfinished", "resumed")
        )
        write_store(read_corpus(self.config.data), store)
        archive.mkdir()
        clips = {f"c{i}": {"emo": "happy", "val": np.float64(i)} for i in range(4)}
        np.savez(archive / "label-6way.npz", train_corpus=np.array(clips, dtype=object))
        shutil.copytree(self.run.path, unfinished)
        (unfinished / "results.json").unlink()
        shutil.copytree(unfinished, resumed)
        shutil.rmtree(resumed / "fold_1" / "round_1")
        mine = self.root / "yaml" / "experiment" / "mine.yaml"
        mine.parent.mkdir(parents=True)
        mine.write_text(EXPERIMENT.format(root=self.data))
        arguments = self.root / "arguments"
        arguments.mkdir()
        (arguments / "given.overrides").write_text("\n".join(OVERRIDES), encoding="utf-8")
        return [
            Target("arguments", arguments, self.overridden, share=3),
            Target("feature folder", self.data, self.read_folder, share=4),
            Target("store", store, self.read_store, share=4),
            Target(
                "label archive",
                archive,
                lambda work: checked_ids(read_label_npz(work / archive_name)),
                share=3,
            ),
            Target("model", self.run.model, self.predict_model, share=4),
            Target("unfinished run", unfinished, self.finish, ("*.*", "fold_*/round_*/*"), share=4),
            Target("resumed run", resumed, self.finish, ("*.*", "fold_1/round_0/*"), share=1),
            Target("finished run", self.run.path, self.finish, ("*.*",), share=1),
            Target("runs to report", self.run.path.parent, analyse, ("run/*.*",), share=2),
            Target("features to predict from", self.data, self.predict_folder, share=2),
            Target("command line", self.data, self.command_line, share=2),
            Target("experiment file", mine.parent.parent, experiment_file, share=2, mutations=OWN_YAML),
        ]

    def read_folder(self, work: Path) -> None:
        corpus = read_corpus(replace(self.config.data, root=str(work)))
        checked_ids(corpus.utterances)

    def read_store(self, work: Path) -> None:
        for resident in (0.0, 8.0):
            data = replace(self.config.data, reader="store", root=str(work), resident_gb=resident)
            checked_ids(read_corpus(data).utterances)

    def predict_model(self, work: Path) -> None:
        decided = load(work).predict(self.features)
        if not (np.isfinite(decided.posterior).all() and np.isfinite(decided.valence).all()):
            raise FoundError("a model was taken whose decisions are no numbers")

    def finish(self, work: Path) -> None:
        with quiet():
            fit.run(self.config, RunDirectory(work))

    def predict_folder(self, work: Path) -> None:
        output = work / "predicted.csv"
        config: Config = replace(
            self.config,
            task="predict",
            model=replace(self.config.model, path=str(self.run.path)),
            input=str(work),
            output=str(output),
        )
        try:
            with quiet():
                predict.run(config, RunDirectory(work / "unused"))
        except BaseException:
            if output.exists():
                raise FoundError("predictions were written in part") from None
            raise
        if "nan" in output.read_text(encoding="utf-8"):
            raise FoundError("a decision that is no number was written")

    def command_line(self, work: Path) -> None:
        store = work / "store"
        try:
            commanded("task=import", *folder_overrides(work), f"output={store}", work=work)
        except UserError:
            if store.exists():
                raise FoundError("a store was written of refused data") from None
            raise
        read_store(replace(self.config.data, reader="store", root=str(store)))

    def overridden(self, work: Path) -> None:
        content = (work / "given.overrides").read_bytes().replace(b"\0", b"")  # which no argument can hold
        given = content.decode("utf-8", "surrogateescape")
        data = folder_overrides(self.data)
        commanded(*data, *filter(None, given.split("\n")), "task=import", f"output={work / 'out'}", work=work)


archive_name = "label-6way.npz"
OVERRIDES = (
    "seed=3", "experiment_name=mine", "data.group=speaker", "data.classes=[angry,happy,sad]", "data.folds=3",
    "pnao.rate=0.1", "trainer.epochs=2", "trainer.learning_rate=1e-3", "fusion=linear",
    "fusion.weights=[1,2]",
    "loss.supervision=both", "network.dimension=16", "folds.workers=auto", "model.fold=0", "+experiment=enf",
)  # fmt: skip
EXPERIMENT = """# @package _global_
experiment_name: mine
seed: 3
task: import
data:
  reader: folder
  root: {root}
  levels: [low, high]
  shared: [face]
  folds: 2
  group: speaker
  resident_gb: 8.0
pnao:
  rate: 0.1
trainer:
  epochs: 2
  learning_rate: 0.001
fusion:
  weights: []
"""


def without_figures(run: RunDirectory) -> None:
    """A page that nobody reads: figures take seconds, and a run that has its page is given none."""
    run.report.write_text("page", encoding="utf-8")


def experiment_file(work: Path) -> None:
    commanded(
        "--config-dir", str(work), "+experiment=mine", "task=import", f"output={work / 'out'}", work=work
    )


def analyse(work: Path) -> None:
    """The report's tables and pages; the figures, which take a second each, are ``write_report``'s."""
    runs = find_runs(work)
    run_page(runs[0], [], [])
    data_sets(runs)
    if os.environ.get("FUZZ_FIGURES"):
        write_report(work)


def checked_ids(utterances: Sequence[object]) -> None:
    for u in utterances:
        check_id(u.id, "accepted")  # type: ignore[attr-defined]
