"""``python -m experiments.bench``: every measurement, a table on the terminal, and a file.

--only NAME    this entry alone (repeat for several)
--quick        fewer repeats, less data in the curves: under three minutes on two cores
--check        compare with recorded.json: status 1 if a ratio is less than half as good as recorded;
               without the curves, which are never compared
--record       keep the figures of this run as recorded.json
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from experiments.bench.folds import fold_parallel_speedup, peer_over_ours_folds
from experiments.bench.loader import loader, loader_growth, store
from experiments.bench.machine import machine, versions
from experiments.bench.measure import FULL, QUICK, Figure, Scale
from experiments.bench.narrow import compact_speedup
from experiments.bench.prediction import predict_over_onnx
from experiments.bench.pruning import torch_pruning_ratio
from experiments.bench.recorded import RECORDED, as_json, worsened
from experiments.bench.result import time_to_result
from experiments.bench.rounds import prune_share, round_time_ratio
from experiments.bench.scaling import draw, scaling
from experiments.bench.startup import startup
from experiments.bench.training import choices, lightning_over_plain, peer_over_ours, sgemm_share
from mer_lightning.files.atomic import write_text

OUTPUTS = Path("outputs")
Entry = Callable[[Scale], list[Figure]]
ENTRIES: dict[str, Entry] = {
    entry.__name__: entry
    for entry in (
        lightning_over_plain,
        peer_over_ours,
        peer_over_ours_folds,
        time_to_result,
        fold_parallel_speedup,
        choices,
        sgemm_share,
        prune_share,
        round_time_ratio,
        compact_speedup,
        predict_over_onnx,
        torch_pruning_ratio,
        loader,
        loader_growth,
        store,
        startup,
        scaling,
    )
}
CURVES = {"loader_growth", "scaling"}


def main(arguments: list[str] | None = None, scale: Scale | None = None) -> int:
    """Measure, show, write; the exit status.

    scale: in place of that of the arguments, for tests.
    """
    parser = argparse.ArgumentParser(
        "python -m experiments.bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only", action="append", choices=ENTRIES, metavar="NAME", help=", ".join(ENTRIES))
    for option in ("--quick", "--check", "--record"):
        parser.add_argument(option, action="store_true")
    options = parser.parse_args(arguments)
    if options.check and not RECORDED.is_file():
        parser.error(f"{RECORDED} is not there: make it on a quiet machine with --record")
    if options.record and options.only:
        parser.error("--record keeps a whole run: leave --only out")
    scale = scale or (QUICK if options.quick else FULL)
    names = options.only or [name for name in ENTRIES if not (options.check and name in CURVES)]
    figures = measure(names, scale)
    content = as_json(figures, options.quick, machine(), versions())
    name = "-".join(["bench", *(["quick"] if options.quick else []), *(options.only or [])])
    write_text(OUTPUTS / f"{name}.json", content)
    if any(f.name.startswith("scaling.") for f in figures):
        draw(figures, OUTPUTS / "scaling.png")
    console = Console()
    console.print(table(figures))
    console.print(f"written: {OUTPUTS / name}.json")
    if options.record:
        write_text(RECORDED, content)
    worse = worsened(figures, json.loads(RECORDED.read_text(encoding="utf-8"))) if options.check else []
    for sentence in worse:
        console.print(f"[red]worse:[/red] {sentence}")
    return 1 if worse else 0


def measure(names: list[str], scale: Scale) -> list[Figure]:
    """The figures of the named entries, one entry after the other, with one thread."""
    torch.set_num_threads(1)
    figures = []
    for name in names:
        began = time.perf_counter()
        found = ENTRIES[name](scale)
        figures += found
        values = ", ".join(f"{f.spread.value:.3g}" for f in found if f.spread) or "not measured"
        print(f"{name}: {values} ({time.perf_counter() - began:.0f} s)", file=sys.stderr, flush=True)
    return figures


def table(figures: list[Figure]) -> Table:
    """A line for each figure."""
    shown = Table(title="Ratios count; seconds are this machine's", box=None, pad_edge=False)
    for heading in ("figure", "value", "spread", "goal"):
        shown.add_column(heading, no_wrap=True)
    shown.add_column("")
    for f in figures:
        goal = "" if f.goal is None else f"{'>=' if f.higher else '<='} {f.goal:.3g}"
        if f.spread is None:
            shown.add_row(f.name, "", "", goal, f"[yellow]no: {f.skipped}[/yellow]")
            continue
        state = {True: "[green]met[/green]", False: "[red]missed[/red]", None: ""}[f.met]
        unit = "" if f.unit == "ratio" else f" {f.unit}"
        around = f"{f.spread.low:.3g}-{f.spread.high:.3g}"
        shown.add_row(f.name, f"{f.spread.value:.3g}{unit}", around, goal, state)
    return shown


if __name__ == "__main__":
    sys.exit(main())
