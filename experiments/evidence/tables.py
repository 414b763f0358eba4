"""Rows as CSV for machines and as Markdown for the documents; both from the same numbers."""

import csv
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from experiments.evidence.picture import CONFUSED, SIZES
from experiments.evidence.plan import Row
from mer_lightning.files.atomic import write_text
from mer_lightning.results.prediction import csv_text

SUMMED = {
    "enf": "`enf`: entropy fusion, the full network, trained once",
    "pnao": "`pnao`: the same, in the round chosen on validation",
    "rewind_only": "`rewind_only`: the same rounds without pruning",
}
Tables = dict[str, list[Row]]  # by name: scores, answers, rounds, settings, runs, sizes


def write(tables: Tables, folder: Path) -> None:
    """``NAME.csv`` each, and all blocks of the documents in ``blocks.txt``."""
    for name, rows in tables.items():
        header = list(rows[0]) if rows else []
        write_text(folder / f"{name}.csv", csv_text(header, [list(row.values()) for row in rows]))
    write_text(
        folder / "blocks.txt", "\n\n".join(f"{n}\n\n{text}" for n, text in blocks(tables).items()) + "\n"
    )


def read(folder: Path) -> Tables:
    """What ``write`` wrote; every value is text or None."""
    return {
        path.stem: [
            {k: v or None for k, v in row.items()} for row in csv.DictReader(path.open(encoding="utf-8"))
        ]
        for path in sorted(folder.glob("*.csv"))
    }


def blocks(tables: Tables) -> dict[str, str]:
    """Name -> what a document shows: ``scores SET`` each, the others once."""
    if not tables:
        return {}
    sets = list(dict.fromkeys(str(row["data"]) for row in tables["scores"]))
    found = {f"scores {s}": scores_table([r for r in tables["scores"] if r["data"] == s]) for s in sets}
    answers = tables["answers"]
    return (
        found
        | {
            "answers": by_question(answers, answer_cell, "sets", how_many),
            "power": by_question(answers, power_cell),
            "sentence": sentence(answers),
            "settings": settings(tables.get("settings", [])),
            "sizes": sizes(tables.get("sizes", [])),
            "runs": runs(tables.get("runs", [])),
            "figure 2": images(
                tables["scores"], CONFUSED, "fig2", "what {0} and {1} confuse, and the difference"
            ),
            "figure 4": images(tables["scores"], (SIZES,), "fig4", "the weights of {0} over the rounds"),
        }
        | {f"result {s}": result(tables["scores"], s) for s in sets}
    )


def images(scores: Sequence[Row], systems: Sequence[str], name: str, shows: str) -> str:
    """A picture for each data set on which the systems were run."""
    run: dict[str, set[str]] = {}
    for row in scores:
        run.setdefault(str(row["data"]), set()).add(str(row["system"]))
    there = [data for data, own in run.items() if own >= {*systems}]
    said = shows.format(*systems)
    return "\n\n".join(f"![{data}: {said}](results/{name}_{data}.png)" for data in there)


def result(scores: Sequence[Row], data: str) -> str:
    """Three systems, in their chosen rounds, on one data set."""
    rows = [row for row in scores if row["data"] == data and row["system"] in SUMMED]
    measure = "com" if all(row["com"] is not None for row in rows) else "dis"
    return markdown(
        ["", f"{measure.title()}, test", "parameters of one network"],
        [
            [SUMMED[str(row["system"])], with_half(row, measure),
             f"{whole(row['parameters'])} ({percent(row['left'])})"]
            for row in rows
        ],
    )  # fmt: skip


def sizes(rows: Sequence[Row]) -> str:
    """Sizes and seconds of each round in full size."""
    header = ["round", "parameters", "left", "nodes", "multiplications a clip", "seconds"]
    return markdown(
        header,
        [
            [
                str(row["round"]), whole(row["parameters"]), percent(row["left"]), whole(row["nodes"]),
                whole(row["macs"]), f"{float(row['seconds'] or 0):.0f}",
            ]
            for row in rows
        ],
    )  # fmt: skip


def runs(rows: Sequence[Row]) -> str:
    """How much of the plan was run, a line per data set."""
    lines = []
    for data in dict.fromkeys(str(row["data"]) for row in rows):
        own = [row for row in rows if row["data"] == data]
        seeds = sorted({int(row["seeds"] or 0) for row in own if int(row["seeds"] or 0)})
        missing = [f"`{row['system']}`" for row in own if not int(row["seeds"] or 0)]
        folds = int(own[0]["outer_folds"] or 0)
        span = " to ".join(map(str, dict.fromkeys((seeds[0], seeds[-1])))) if seeds else ""
        lines.append([
            data,
            f"each of {folds} folds" if folds else "one split",
            f"{span} of {own[0]['planned']}" if seeds else "-",
            "all" if len(missing) == len(own) else ", ".join(missing) or "none",
            f"{sum(float(row['hours'] or 0) for row in own):.1f}",
        ])  # fmt: skip
    return markdown(["data", "test set", "seeds", "systems not run yet", "hours of the runs shown"], lines)


def settings(rows: Sequence[Row]) -> str:
    """The dropout found for each system, a column per data set; of outer folds one each, in their order."""
    sets = list(dict.fromkeys(str(row["data"]) for row in rows))
    found: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if int(row["chosen"] or 0):
            found.setdefault((str(row["system"]), str(row["data"])), []).append(
                f"{float(row['dropout'] or 0):g}"
            )
    systems = dict.fromkeys(system for system, _ in found)
    return markdown(
        ["dropout", *sets], [[f"`{s}`", *(" ".join(found.get((s, d), "-")) for d in sets)] for s in systems]
    )


def scores_table(rows: Sequence[Row]) -> str:
    """Test scores and sizes of the systems on one data set."""
    measures = [m for m in ("dis", "dim", "com") if any(row[m] is not None for row in rows)]
    titles = {"dis": "Dis ↑", "dim": "Dim ↓", "com": "Com ↑"}
    header = [
        "System", *(titles[m] for m in measures), *(f"one network: {titles[m]}" for m in measures),
        "seeds", "parameters", "left", "networks", "together",
    ]  # fmt: skip
    lines = []
    for row in rows:
        together = [with_half(row, m) for m in measures]
        alone = [plain(row[f"single_{m}"]) for m in measures]
        sizes = [
            whole(row["parameters"]),
            percent(row["left"]),
            str(row["networks"]),
            whole(row["ensemble_parameters"]),
        ]
        lines.append([f"`{row['system']}`", *together, *alone, str(row["seeds"]), *sizes])
    return markdown(header, lines)


def with_half(row: Row, measure: str) -> str:
    """``.7748 ± .0113``: the mean over seeds, and half of its 95 % interval where there are two or more."""
    half = row[f"{measure}_half"]
    return plain(row[measure]) + ("" if half is None else f" ± {plain(half)}")


def by_question(
    answers: Sequence[Row],
    cell: Callable[[Row], str],
    last: str = "",
    total: Callable[[Sequence[Row]], str] | None = None,
) -> str:
    """A line per question, a column per data set."""
    sets = {str(row["data"]): str(row["measure"]).title() for row in answers}
    lines = []
    for question in dict.fromkeys(str(row["question"]) for row in answers):
        own = {str(row["data"]): row for row in answers if row["question"] == question}
        pair = next(iter(own.values()))
        same = " in the same round" * int(pair["same_round"] or 0)
        asked = f"{question} `{pair['first']}` - `{pair['second']}`{same}"
        cells = [
            (cell(own[s]) if answered(own[s]) else str(own[s]["answer"])) if s in own else "not run"
            for s in sets
        ]
        lines.append([asked, *cells, *([total(list(own.values()))] if total else [])])
    return markdown(["question", *(f"{s}, {m}" for s, m in sets.items()), *([last] if total else [])], lines)


def answered(row: Row) -> bool:
    """Whether there are seeds and speakers enough for a verdict."""
    return not str(row["answer"]).startswith("too few")


def answer_cell(row: Row) -> str:
    """``+.0010 [-.0163, +.0143], no difference shown``."""
    size = f" ({percent(row['left'])} left)" if row["wanted"] == "yes" else ""
    return f"{signed(row['difference'])} [{signed(row['low'])}, {signed(row['high'])}], {row['answer']}{size}"


def power_cell(row: Row) -> str:
    """The smallest true difference that the comparison could have shown, and from how much."""
    return f"{signed(row['could_show'])} ({row['clusters']} {row['unit']}, {row['seeds']} seeds)"


def how_many(rows: Sequence[Row]) -> str:
    """``better on 1 of 4``; of a question of loss ``yes on 1 of 4``. Sets without a verdict do not count."""
    rows = [row for row in rows if answered(row)]
    count = sum(str(row["answer"]).split(",")[0] == row["wanted"] for row in rows)
    return f"{rows[0]['wanted']} on {count} of {len(rows)}" if rows else "-"


def sentence(answers: Sequence[Row]) -> str:
    """The one under the picture."""
    rows = [r for r in answers if (r["first"], r["second"]) == ("pnao", "rewind_only") and answered(r)]
    if not rows:
        return "`pnao` was not compared with `rewind_only` yet."
    said = "; ".join(
        f"{row['data']}: {percent(row['left'])} left, {str(row['measure']).title()} "
        f"{signed(row['difference'])} [{signed(row['low'])}, {signed(row['high'])}]"
        for row in rows
    )
    shown = sum(row["answer"] == "yes" for row in rows)
    return (
        "`pnao` minus the same rounds without pruning, corrected 95 % intervals over seeds and speakers: "
        f"{said}. A loss of a point is ruled out on {shown} of {len(rows)} data sets."
    )


def markdown(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table, first column to the left."""
    rule = ["---"] + ["---:"] * (len(header) - 1)
    return "\n".join("| " + " | ".join(line) + " |" for line in [header, rule, *lines])


def plain(value: str | int | float | None) -> str:
    """``.7855``; ``-`` for what is not known."""
    return "-" if value is None else f"{float(value):.4f}".removeprefix("0")


def signed(value: str | int | float | None) -> str:
    """``+.0010``."""
    return "-" if value is None else re.sub(r"^([-+])0", r"\1", f"{float(value):+.4f}")


def percent(value: str | int | float | None) -> str:
    """``28.9 %``."""
    return "-" if value is None else f"{float(value):.1%}".replace("%", " %")


def whole(value: str | int | float | None) -> str:
    """``722,757``."""
    return "-" if value is None else f"{int(float(value)):,}"
