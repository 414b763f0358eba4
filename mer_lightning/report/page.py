"""From findings to HTML: jinja2 with autoescape on, pictures embedded, no request to anywhere."""

import base64
from collections.abc import Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined

from mer_lightning.report import prose, table
from mer_lightning.report.findings import Findings
from mer_lightning.report.pictures import Picture
from mer_lightning.report.runs import TRAIN_VAL, FinishedRun, part_name, part_scores
from mer_lightning.report.statistics import MEASURES
from mer_lightning.report.systems import System, apart
from mer_lightning.results.choice import reason, saving
from mer_lightning.results.remarks import score_remarks
from mer_lightning.training.revision import flattered

WIDER = {
    "dis": "Weighted F1 (Dis)", "uar": "UAR (UA)", "macro_f1": "Macro F1", "accuracy": "Accuracy (WA)",
    "dim": "Valence: MSE (Dim)", "mae": "MAE", "ccc": "CCC", "pearson": "Pearson",
    "skill": "Skill against the training mean", "com": "Com",
}  # fmt: skip
CSS_PIXELS = 96 / 150  # per pixel of a picture, so that a figure's inches are the page's


def environment() -> Environment:
    """The templates; everything put into them is escaped."""
    made = Environment(
        loader=PackageLoader("mer_lightning.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "data_uri": data_uri,
        "width": width,
        "described": described,
        "caption": table.caption,
        "header": table.header,
        "cells": table.cells,
        "measures": lambda f: measures(f.data.has_valence),
        "signed": prose.signed,
        "score": score,
        "part_scores": part_scores,
        "part_name": part_name,
        "reason": reason,
        "saving": saving,
        "score_table": score_table,
        "named": prose.NAMES.get,
    }
    return made


def report_page(found: Sequence[Findings]) -> str:
    """index.html."""
    labels = {system.label for f in found for system in f.data.systems}
    systems = "1 system" if len(labels) == 1 else f"{len(labels)} systems"
    names = " and ".join(f"{f.data.name} data" if f.data.synthetic else f.data.name for f in found)
    title = f"Emotion recognition on {names}: {systems}{' compared' * (len(labels) > 1)}"
    lead = f"{systems}, {runs_text(found)}. {shown_text(found)}"
    return environment().get_template("index.html").render(
        title=title, lead=lead, found=found, published=table.PUBLISHED, apart=apart([f.data for f in found])
    )  # fmt: skip


def runs_text(found: Sequence[Findings]) -> str:
    """How many finished runs."""
    runs = sum(len(system.runs) for f in found for system in f.data.systems)
    return "1 finished run" if runs == 1 else f"{runs} finished runs"


def shown_text(found: Sequence[Findings]) -> str:
    """How many of the headline's comparisons show a difference."""
    verdicts = [c.verdict for f in found for c in f.compared if c.part == f.data.headline[0]]
    shown = sum(verdict in ("better", "worse") for verdict in verdicts)
    if not verdicts:
        return "No pair of systems to compare yet."
    return f"Of {len(verdicts)} comparison{'s' * (len(verdicts) > 1)}, {shown or 'none'} " + (
        "shows a difference." if shown < 2 else "show a difference."
    )


def run_page(run: FinishedRun, pictures: Sequence[Picture], missing: Sequence[str]) -> str:
    """report.html of one run."""
    has_valence = run.scores(TRAIN_VAL)["com"] is not None
    remarks = score_remarks(run.results, part_name(run.results, TRAIN_VAL))
    return environment().get_template("run.html").render(
        title=f"{run.experiment} on {run.results.data.name}, seed {run.seed}",
        lead=run_sentence(run),
        run=run,
        measures=with_uar(measures(has_valence)),
        table=score_table(System(run.experiment, run.experiment, (run,))),
        notes=[f"round {r.round}, {note}" for r in run.results.rounds for note in r.notes],
        cautions=[*run_cautions(run), *remarks, *missing],
        pictures=pictures,
    )  # fmt: skip


def score_table(system: System) -> list[list[str]]:
    """Header, then a row for each score that a part has: its name, and its mean over seeds on every part.

    Of one run there is, beside a test set's, the mean of the folds' networks, each alone, and its spread.
    """
    run, rows = system.runs[0], [["Score"]]
    single = run.results.single if len(system.runs) == 1 else {}
    for part in run.parts:
        name = part_name(run.results, part)
        rows[0] += [name, f"{name}, one network"] if single.get(part) else [name]
    for m, title in (WIDER | {f"f1_{c}": f"F1 of {c}" for c in run.classes}).items():
        cells = []
        for part in run.parts:
            cells.append(table.cell(table.mean_score(system, part, m)))
            if alone := single.get(part):
                cells.append(f"{alone[m].mean:.4f} ± {alone[m].deviation:.4f}" if m in alone else "-")
        rows += [[title, *cells]] * (set(cells) != {"-"})
    return rows


def run_sentence(run: FinishedRun) -> str:
    """What came out, in two sentences."""
    parts = []
    for part in run.parts:
        known = [f"{prose.NAMES[m]} {v:.4f}" for m in MEASURES if (v := run.scores(part)[m]) is not None]
        if known:
            parts.append(f"{', '.join(known)} on {part_name(run.results, part)}")
    best, last = run.results.best, len(run.results.rounds) - 1
    size = f"{best.parameters:,} parameters"
    if f"{best.parameters_ratio:.1%}" != "100.0%":
        size += f", {best.parameters_ratio:.1%} left"
    return f"{'; '.join(parts)}. Reported is round {best.round} of {last}: {size}."


def run_cautions(run: FinishedRun) -> list[str]:
    """What to know before believing one run."""
    found = []
    if run.results.data.synthetic:
        found.append("The data are synthetic: made up. Nothing here says how well emotions are recognised.")
    found += flattered(run.config.get("revision", {}), run.results.protocol)
    if run.results.protocol == "paper":
        found.append(
            "protocol=paper: the fold that is scored in Train&Val also stopped the training and chose the "
            "round, which flatters Train&Val."
        )
    if run.results.protocol == "fixed":
        found.append(
            "protocol=fixed: the split val stopped the training and chose the round, which flatters its "
            "scores. The test sets were scored once, for the chosen round."
        )
    found.append("One seed: whether a difference to another run is more than chance, task=report tells.")
    return found


def described(f: Findings) -> str:
    """What was compared on what."""
    seeds = sorted({len(system.runs) for system in f.data.systems})
    many = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    part, measure = f.data.headline
    return (
        f"{f.data.name}: {table.sizes(f.data)}; {len(f.data.data.classes)} emotions"
        f"{', valence' if f.data.has_valence else ', no valence'}; protocol {f.data.protocol}. "
        f"Systems: {', '.join(system.label for system in f.data.systems)}; seeds of each: {many}. "
        f"The answers are about {prose.NAMES[measure]} on {part}."
    )


def measures(has_valence: bool) -> tuple[str, ...]:
    """What there is to show; the last one is what the verdicts are about."""
    return MEASURES if has_valence else ("dis",)


def with_uar(names: Sequence[str]) -> tuple[str, ...]:
    """Measures with UAR beside Dis."""
    return ("dis", "uar", *names[1:])


def data_uri(picture: Picture) -> str:
    """The PNG within the page."""
    return "data:image/png;base64," + base64.b64encode(picture.content).decode("ascii")


def width(picture: Picture) -> int:
    """CSS pixels, from the PNG's header."""
    return round(int.from_bytes(picture.content[16:20]) * CSS_PIXELS)


def score(value: float | None) -> str:
    """Four digits, or a dash."""
    return "-" if value is None else f"{value:.4f}"
