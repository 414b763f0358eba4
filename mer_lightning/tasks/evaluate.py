"""``task=evaluate``: a finished run's model on other labelled data, into a folder of its own."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from mer_lightning.config.groups import DataConfig
from mer_lightning.config.registry import READERS
from mer_lightning.config.schema import Config
from mer_lightning.data.corpus import Corpus
from mer_lightning.data.paths import require_sets
from mer_lightning.errors import UserError
from mer_lightning.files.atomic import new_folder, refuse_strangers
from mer_lightning.files.recorded import AllScores
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.report.conditions import Study, ablation, noise
from mer_lightning.report.evaluation import evaluation_page, evaluation_pictures
from mer_lightning.report.report import INDEX, ours, write_pictures
from mer_lightning.results.description import check_extractors
from mer_lightning.results.evaluation import Evaluation, decide, evaluate
from mer_lightning.results.prediction import csv_text, predictions_csv
from mer_lightning.results.predictor import Predictor, load
from mer_lightning.results.priors import resolved, said
from mer_lightning.views.terminal import number, print_whole

FILE = "evaluation.json"
FILES = (FILE, "predictions.csv", "groups.csv", "ablation.csv", "noise.csv", "figures", INDEX)
SHOWN = ("dis", "uar", "accuracy", "dim", "ccc", "com")
ADVICE = "the model needs it: name the sets as they were in training"


def run(config: Config, directory: RunDirectory) -> None:
    """Score the model on ``data=...``, write the folder, show the scores."""
    output = Path(str(config.output)).expanduser()
    if output.exists() and not ((output / FILE).is_file() and ours(output / INDEX)):
        raise UserError(f"output={output}: exists, and is not an evaluation to replace; give another name")
    refuse_strangers(output, FILES)
    predictor = load(str(config.model.path), config.model.fold, config.model.revision)
    predictor = predictor.doing_without(config.model.without)
    corpus = read(config.data, predictor)
    if config.priors:
        predictor = predictor.with_priors(
            lambda trained: resolved(
                config.priors, predictor.classes, decide(predictor, corpus).decision.log_posterior, trained
            )
        )
    found = evaluate(predictor, corpus, config.evaluate.map)
    studies = []
    if config.evaluate.ablation:
        studies.append(ablation(predictor, found))
    if noisy := config.evaluate.noisy:
        corrupted = {level: read(replace(config.data, root=root), predictor) for level, root in noisy.items()}
        studies.append(noise(predictor, found, corrupted, config.evaluate.axis))
    with new_folder(output) as folder:
        write(folder, found, predictor, studies)
    show(found, predictor, studies, output)


def read(data: DataConfig, predictor: Predictor) -> Corpus:
    """The labelled data, with the feature sets that the model needs, made as its own were."""
    corpus: Corpus = READERS.make(data.reader, data, **vars(data))
    require_sets(predictor.features, corpus.features, data.root or corpus.name, ADVICE)
    check_extractors(predictor.extractors, corpus.extractors, corpus.name)
    features = predictor.prepared(corpus.features, [u.group for u in corpus.utterances])
    return replace(corpus, features=dict(features))


def write(folder: Path, found: Evaluation, predictor: Predictor, studies: Sequence[Study]) -> None:
    """``evaluation.json``, the tables and the page."""
    scores = {
        "n": len(found.corpus.utterances),
        "data": found.corpus.name,
        "classes": list(found.corpus.classes),
        "scores": asdict(found.whole),
        "splits": {name: asdict(s) for name, s in found.by_split.items()},
        "unmapped": found.unmapped,
        "without": list(predictor.without),
        "priors": dict(zip(predictor.classes, predictor.priors, strict=False)),
    }
    (folder / FILE).write_text(json.dumps(scores, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    table = predictions_csv(found.corpus, [found.decisions], predictor.branch_names, predictor.has_valence)
    (folder / "predictions.csv").write_text(table, encoding="utf-8")
    if found.by_group:
        rows = [[name, *(getattr(s, m) for m in SHOWN)] for name, s in found.by_group.items()]
        (folder / "groups.csv").write_text(csv_text(["group", *SHOWN], rows), encoding="utf-8")
    for study in studies:
        text = csv_text(*study.table)
        (folder / f"{study.name}.csv").write_text(text, encoding="utf-8")
    pictures = evaluation_pictures(found, predictor.branch_names)
    pictures += [picture for study in studies if (picture := study.picture)]
    write_pictures(folder / "figures", pictures)
    remarks = [said(predictor)] if predictor.priors else []
    page = evaluation_page(found, pictures, studies, predictor.without, remarks)
    (folder / INDEX).write_text(page, encoding="utf-8")


def show(found: Evaluation, predictor: Predictor, studies: Sequence[Study], output: Path) -> None:
    """Scores of the whole, of each split and under each condition on the terminal."""
    console = Console(soft_wrap=True, highlight=False)
    table = Table(box=SIMPLE, padding=(0, 1), pad_edge=False)
    for column in ("", *SHOWN):
        table.add_column(column, justify="right" if column else "left")
    parts: dict[str, AllScores] = {"all": found.whole}
    parts |= found.by_split if len(found.by_split) > 1 else {}
    for name, scores in parts.items():
        table.add_row(name, *(number(getattr(scores, m)) for m in SHOWN))
    for study in studies:
        table.add_section()
        for c in study.conditions:
            table.add_row(c.name, *(number(getattr(c.scores, m)) for m in SHOWN))
    print_whole(table)
    for emotion, count in found.unmapped.items():
        console.print(
            f"note: {count} utterances are {emotion}, which the model does not know: not scored; "
            f"evaluate.map={{{emotion}: EMOTION}} maps it",
            markup=False,
        )
    if predictor.priors:
        console.print(f"note: {said(predictor)}", markup=False)
    console.print(f"evaluation  {(output / INDEX).absolute()}", markup=False)
