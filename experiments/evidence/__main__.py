"""``python -m experiments.evidence``: the plan's runs, tables and pictures, and the check of the documents.

The same command goes on after a kill. Exit status 1: a sweep failed, or a figure in a document is no run's.

DATA=DIR          the folder with ravdess, mosi, meld, cremad; those not there are skipped
EVIDENCE=quick    every step on made-up data, in minutes; the documents are checked against the kept tables
--only SET        this data set alone, or full_size (repeat for several)
--system NAME     this system alone, with the one whose dropout it takes (repeat for several)
--seeds N         the first N seeds alone
--tables          train nothing: the tables of what is finished
--write           keep tables and pictures in experiments/evidence/results, and write the documents' blocks
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from experiments.evidence import documents, numbers, tables
from experiments.evidence.answers import answer_rows, round_rows, run_rows, score_rows, size_rows
from experiments.evidence.grid import (
    FULL_SIZE,
    Launch,
    Seeds,
    launch,
    read_full_size,
    read_systems,
    train,
    train_full_size,
)
from experiments.evidence.picture import pictures
from experiments.evidence.plan import Grid, Plan, Wanted, read_plan, wanted
from experiments.evidence.search import found, settings_rows, tried
from mer_lightning.errors import UserError
from mer_lightning.files.atomic import write_bytes, write_text

ROOT = Path(__file__).parents[2]
KEPT = Path(__file__).with_name("results")


def main(arguments: Sequence[str] | None = None) -> int:
    """What the command line asks for; the exit status."""
    parser = argparse.ArgumentParser(
        "python -m experiments.evidence", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only", action="append", metavar="SET")
    parser.add_argument("--system", action="append", metavar="NAME")
    parser.add_argument("--seeds", type=int, choices=range(1, 100), metavar="N")
    parser.add_argument("--tables", action="store_true")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--output", type=Path, help="where runs and tables go; outputs/evidence")
    options = parser.parse_args(arguments)
    quick = os.environ.get("EVIDENCE") == "quick"
    if quick and options.write:
        parser.error("--write keeps results: not with EVIDENCE=quick, whose figures say nothing")
    output = options.output or Path("outputs") / ("evidence-quick" if quick else "evidence")
    plan = read_plan(quick)
    try:
        names = [] if options.tables else chosen(plan, options.only)
        grids = [grid for name, grid in plan.sets.items() if name in names]
        asked = {grid: wanted(plan, grid, options.system, options.seeds) for grid in grids}
        made = evidence(
            plan,
            asked,
            Path(os.environ.get("DATA") or "data"),
            output,
            FULL_SIZE in names and not options.system,
        )
        if options.write:
            keep(made, output)
        shown = tables.read(KEPT) if quick else made
        pages = documents.documents(ROOT)
        mistakes = [*documents.check(pages, tables.blocks(shown), ROOT), *numbers.check_all(pages, ROOT)]
        return report(mistakes, output)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def chosen(plan: Plan, only: Sequence[str] | None) -> list[str]:
    """What is to be run: data sets, and the run in full size. UserError for a name that the plan lacks."""
    there = [*plan.sets, FULL_SIZE]
    if unknown := set(only or ()) - {*there}:
        raise UserError(f"--only {sorted(unknown)[0]}: the plan has {', '.join(there)}")
    return [name for name in there if name in (only or there)]


def evidence(
    plan: Plan,
    asked: Mapping[Grid, Wanted],
    data: Path,
    output: Path,
    full_size: bool = False,
    start: Launch = launch,
) -> tables.Tables:
    """Train, compare, write the tables, the pictures and ``evidence.json``; the tables."""
    skipped = []
    for grid, want in asked.items():
        if not (grid.made_up or (data / grid.name).is_dir()):
            skipped.append(grid.name)
            print(f"note: {data / grid.name} is not there: {grid.name} is skipped; DATA=DIR says where")
            continue
        train(plan, grid, want, (data.resolve(), (output / "runs" / grid.name).resolve()), start)
    runs = output / "runs"
    if full_size:
        train_full_size(plan, (data.resolve(), (runs / FULL_SIZE).resolve()), start)
    # Finished runs that were not asked for count, too: --only takes nothing out of the tables.
    searched = {name: tried(plan, grid, runs / name) for name, grid in plan.sets.items()}
    read = {
        name: read_systems(plan, grid, found(searched[name]), runs / name) for name, grid in plan.sets.items()
    }
    systems = {name: own for name, own in read.items() if own}
    sized = size_rows(read_full_size(plan, runs / FULL_SIZE))
    if not systems and not sized:
        raise UserError(
            f"none of {', '.join(g.name for g in asked)} is in {data}; DATA=DIR says where they are"
            if asked
            else f"no finished run in {output / 'runs'}"
        )
    made = compared(plan, systems) | {
        "settings": [row for name, own in searched.items() for row in settings_rows(name, own)],
        "sizes": sized,
        "runs": [row for name, grid in plan.sets.items() for row in run_rows(plan, grid, read[name])],
    }
    output.mkdir(parents=True, exist_ok=True)
    tables.write(made, output)
    for name, picture in pictures(made["rounds"], systems).items():
        write_bytes(output / name, picture)
    write_text(output / "evidence.json", json.dumps(origin(plan, systems, skipped), indent=1) + "\n")
    return made


def compared(plan: Plan, by_set: Mapping[str, dict[str, Seeds]]) -> tables.Tables:
    """The tables of scores."""
    return {
        "scores": [row for name, systems in by_set.items() for row in score_rows(name, systems)],
        "answers": [row for name, systems in by_set.items() for row in answer_rows(name, systems, plan)],
        "rounds": [row for name, systems in by_set.items() for row in round_rows(name, systems, plan.drawn)],
    }


def origin(plan: Plan, by_set: Mapping[str, dict[str, Seeds]], skipped: Sequence[str]) -> dict[str, Any]:
    """What ``evidence.json`` says: the plan, the versions that trained, the commit that wrote the tables."""
    runs = [
        run
        for systems in by_set.values()
        for seeds in systems.values()
        for each in seeds.values()
        for run in each
    ]
    return {
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "versions": sorted({json.dumps(run.results.versions, sort_keys=True) for run in runs}),
        "plan": plan.text,
        "skipped": list(skipped),
    }


def commit() -> str:
    """The checkout's, ``-dirty`` with changes; "" outside one."""
    told = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    return subprocess.run(told, capture_output=True, text=True, check=False).stdout.strip()


def keep(made: tables.Tables, output: Path) -> None:
    """Tables, pictures and ``evidence.json`` into the checkout, and the blocks of its documents."""
    KEPT.mkdir(parents=True, exist_ok=True)
    tables.write(made, KEPT)
    for path in [*output.glob("*.png"), output / "evidence.json"]:
        write_bytes(KEPT / path.name, path.read_bytes())
    documents.write(documents.documents(ROOT), tables.blocks(made))


def report(mistakes: Sequence[documents.Mistake], output: Path) -> int:
    """Say what was found; 1 if a document is wrong."""
    for mistake in mistakes:
        print(f"error: {mistake}", file=sys.stderr)
    print(f"evidence  {output}")
    if mistakes:
        print(
            "error: --write writes the blocks from the runs; prose is for a person to mend", file=sys.stderr
        )
    return 1 if mistakes else 0


if __name__ == "__main__":
    sys.exit(main())
