"""``task=predict``: a finished run's predictions for a feature store, a feature folder, or clips."""

import csv
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from torch import Tensor

from mer_lightning.config.schema import Config
from mer_lightning.data.arrays import brief
from mer_lightning.data.inputs import Inputs, inputs_of_folder, inputs_of_store, is_folder, is_store
from mer_lightning.data.memmap import release
from mer_lightning.errors import UserError
from mer_lightning.extract.parts import failures_csv
from mer_lightning.files.atomic import new_file, write_text
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.model.base import Decision
from mer_lightning.results.description import check_extractors
from mer_lightning.results.prediction import Prediction, header
from mer_lightning.results.predictor import Predictor, load
from mer_lightning.results.priors import resolved, said
from mer_lightning.views.terminal import print_whole

BLOCK = 4096  # utterances decided on at a time, so that what is memory-mapped never has to fit in memory
SHOWN = 20  # utterances, or clips that failed, on the screen
STARTS = "utterance_id,predicted_emotion,predicted_valence,"  # by which a prediction file is known


@dataclass
class Summary:
    """What is shown of many predictions."""

    first: list[tuple[str, ...]] = field(default_factory=list)  # rows of the table on the screen
    emotions: Counter[str] = field(default_factory=Counter)
    lacking: int = 0  # utterances without some feature set

    def add(self, ids: Sequence[str], p: Prediction, missing: Sequence[str], predictor: Predictor) -> None:
        """Take note of some more."""
        self.emotions.update(p.emotion)
        self.lacking += sum(map(bool, missing))
        for i, name in enumerate(ids[: SHOWN - len(self.first)]):
            valence = f"{p.valence[i]:.2f}" if predictor.has_valence else "-"
            branch = predictor.branch_names[int(p.weights[i].argmax())]
            weight = f"{escape(branch)} {p.weights[i].max():.2f}"
            self.first.append(
                (escape(name), escape(p.emotion[i]), f"{p.posterior[i].max():.2f}", valence, weight)
            )


def run(config: Config, directory: RunDirectory) -> None:
    """Decide on every utterance of ``input``, write the table, and show its beginning."""
    output = Path(str(config.output)).expanduser()
    check_output(output)
    predictor = load(str(config.model.path), config.model.fold, config.model.revision)
    predictor = predictor.doing_without(config.model.without)
    console = Console(soft_wrap=True, highlight=False)
    inputs = read(config, predictor, console)
    if config.priors:
        predictor = predictor.with_priors(
            lambda trained: resolved(
                config.priors, predictor.classes, log_posteriors(predictor, inputs), trained
            )
        )
    try:
        summary = write_table(output, predictor, inputs)
    except OSError as error:
        raise UserError(f"{output}: cannot be written ({brief(error)}); give another output=FILE") from error
    show(console, summary)
    if predictor.priors:
        console.print(f"note: {said(predictor)}", markup=False)
    console.print(f"predictions {output.absolute()}", markup=False)


def check_output(output: Path) -> None:
    """A UserError for a file that is no prediction of ours to replace, or that could not be written."""
    if output.exists() and not is_prediction_file(output):
        raise UserError(
            f"output={output}: exists, and is not a prediction file to replace; give another name"
        )
    parent = next(p for p in output.absolute().parents if p.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise UserError(f"output={output}: {parent} is not a folder that can be written to; give another")


def is_prediction_file(path: Path) -> bool:
    """Whether this task wrote it."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(STARTS)) == STARTS.encode()


def read(config: Config, predictor: Predictor, console: Console) -> Inputs:
    """The features at ``input``, made as those of the model were."""
    path = Path(str(config.input)).expanduser()
    if not path.exists():
        raise UserError(f"input={path}: no such file or folder")
    if is_store(path):
        inputs = inputs_of_store(path, predictor.features, config.data.resident_gb)
    elif is_folder(path):
        inputs = inputs_of_folder(path, predictor.features, config.data.group)
    else:
        predictor.prepared({})  # refuses a model that needs speakers, before clips are looked at
        inputs = inputs_of_clips(path, predictor, config, console)
    if not inputs.ids:
        raise UserError(f"input={path}: no utterances")
    check_extractors(predictor.extractors, inputs.extractors, str(path))
    dimensions = {name: {"dimension": int(array.shape[1])} for name, array in inputs.features.items()}
    needed = {name: {"dimension": dimension} for name, dimension in predictor.features.items()}
    check_extractors(needed, dimensions, str(path))
    return inputs._replace(features=predictor.prepared(inputs.features, inputs.speakers))


def inputs_of_clips(path: Path, predictor: Predictor, config: Config, console: Console) -> Inputs:
    """The features of a clip, or of a folder of clips; those that fail are named."""
    from mer_lightning.extract.pipeline import features_of_clips  # late: to import it takes seconds

    needed = {name: predictor.extractors.get(name, {}) for name in predictor.features}
    extracted = features_of_clips(path, needed, config.extract)
    report_failures(extracted.failures, config, console)
    n = len(extracted.ids)
    features = {  # a set that no clip has is missing in all of them
        name: extracted.features.get(name, np.full((n, dimension), np.nan, dtype=np.float32))
        for name, dimension in predictor.features.items()
    }
    return Inputs(extracted.ids, features, {})


def report_failures(failed: Sequence[tuple[str, str]], config: Config, console: Console) -> None:
    """Name the clips that could not be used: the first on the screen, all in a file beside the output.

    Raises UserError for the first, under ``extract.on_error=stop``.
    """
    if not failed:
        return
    if config.extract.on_error == "stop":
        raise UserError(f"clip {failed[0][0]}: {failed[0][1]}; fix or remove it")
    for clip, reason in failed[:SHOWN]:
        console.print(f"failed: {clip}: {reason}", markup=False)
    output = Path(str(config.output)).expanduser()
    listed = output.with_name(f"{output.stem}.failures.csv")
    write_text(listed, failures_csv(failed))
    console.print(f"{len(failed)} clips failed, listed in {listed}", markup=False)


def write_table(output: Path, predictor: Predictor, inputs: Inputs) -> Summary:
    """Write the predictions as they come, one row each, into a file that is there whole or not at all."""
    summary = Summary()
    with new_file(output) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["utterance_id", *header(predictor.classes, predictor.branch_names), "missing"])
        for rows, features, decision in decisions(predictor, inputs):
            prediction = Prediction.of(decision, predictor.classes)
            absent = zip(*(np.isnan(array[:, 0]) for array in features.values()), strict=True)
            missing = [
                " ".join((*(n for n, no in zip(features, row, strict=True) if no), *predictor.without))
                for row in absent
            ]
            cells = prediction.rows(predictor.has_valence)
            for name, own, lacks in zip(inputs.ids[rows], cells, missing, strict=True):
                writer.writerow([name, *own, lacks])
            summary.add(inputs.ids[rows], prediction, missing, predictor)
    return summary


def log_posteriors(predictor: Predictor, inputs: Inputs) -> Tensor:
    """(N, C), a block of utterances at a time."""
    return torch.cat([d.log_posterior for _, _, d in decisions(predictor, inputs)])


def decisions(
    predictor: Predictor, inputs: Inputs
) -> Iterator[tuple[slice, dict[str, NDArray[Any]], Decision]]:
    """Rows, their features, and the decision on them, block by block."""
    for start in range(0, len(inputs.ids), BLOCK):
        rows = slice(start, start + BLOCK)
        features = {n: inputs.features[n][rows] for n in predictor.features}
        yield rows, features, predictor.decide(features)
        for array in features.values():
            release(array)


def show(console: Console, summary: Summary) -> None:
    """The first predictions as a table; of more, how many there are of each emotion."""
    table = Table(box=SIMPLE, padding=(0, 1), pad_edge=False)
    for column in ("utterance", "emotion", "probability", "valence", "largest weight"):
        table.add_column(column, justify="right" if column in ("probability", "valence") else "left")
    for row in summary.first:
        table.add_row(*row)
    print_whole(table)
    total = summary.emotions.total()
    if total > SHOWN:
        each = ", ".join(f"{name} {count:,}" for name, count in summary.emotions.most_common())
        console.print(f"... and {total - SHOWN:,} more. All {total:,}: {each}", markup=False)
    if summary.lacking:
        console.print(f"note: {summary.lacking:,} of {total:,} utterances lack feature sets, see missing")
