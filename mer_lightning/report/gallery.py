"""Which pictures a page gets: those that its runs have the data for."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from mer_lightning.errors import UserError
from mer_lightning.files.recorded import Results
from mer_lightning.report.pairs import Comparison, matches
from mer_lightning.report.pictures import (
    Picture,
    calibration,
    confusion,
    differences,
    fig2,
    fig3,
    fold_curve,
    fusion_weights,
    pareto,
    seed_curve,
)
from mer_lightning.report.pruning import fig4, widths
from mer_lightning.report.runs import TRAIN_VAL, FinishedRun, part_name
from mer_lightning.report.systems import DataSet, System
from mer_lightning.report.table import sizes

FIG2 = (("enf", "baseline"), ("pnao", "pnao_attention"))  # entropy and attention, the first pair there is

ONE_SEED = "One seed: how much another training would differ is not shown."
ONE_RUN = ("widths", "fig4_weights", "calibration")  # pictures of a data set's main system, its first seed


def existing(makers: Sequence[Callable[[], Picture | None]]) -> tuple[list[Picture], list[str]]:
    """The pictures that can be made, and why others cannot: their data are gone from the run."""
    pictures, notes = [], []
    for make in makers:
        try:
            if picture := make():
                pictures.append(picture)
        except UserError as error:
            notes.append(f"A figure is left out. {error}")
    return pictures, notes


def data_set_pictures(data: DataSet, compared: Sequence[Comparison]) -> tuple[list[Picture], list[str]]:
    """All pictures of a data set that its runs allow, and notes on those left out."""
    part, measure = data.headline
    along = TRAIN_VAL if data.protocol == "fixed" else part  # the test set is scored in one round alone there
    main = main_system(data)
    makers: list[Callable[[], Picture | None]] = []
    if shown := [c for c in compared if c.part == part and c.p is not None]:
        makers.append(lambda: differences(shown))
    if (pair := fusion_pair(data)) is not None:
        makers.append(lambda: fig2(*pair, part))
    else:
        makers.append(lambda: confusion(main, part))
    drawn = sorted(data.systems, key=lambda s: s is not main)  # main first, the others in their order
    looks = {s.label: look for look, s in enumerate(drawn)}
    if several := [s for s in drawn if has_rounds(s.runs[0])]:
        curves = [seed_curve(s, along, looks[s.label]) for s in several]
        makers.append(lambda: fig3(curves, along, "lowest to highest seed"))
        makers.append(lambda: widths(several[0].runs[0]))
        makers.append(lambda: fig4(several[0].runs[0]))
    if several or len(drawn) > 1:
        makers.append(lambda: pareto(drawn, along, measure))
    makers.append(lambda: calibration(main.runs[0]))
    makers.append(lambda: fusion_weights(main))
    pictures, notes = existing(makers)
    return [replace(p, caption=f"{p.caption} {sample(data, p.name)}") for p in pictures], notes


def sample(data: DataSet, picture: str) -> str:
    """What a picture's figures are of, and what is random in them."""
    seeds = 1 if picture in ONE_RUN else max(len(system.runs) for system in data.systems)
    if seeds == 1:
        return f"n: {sizes(data)}. {ONE_SEED}"
    drawn = "" if data.protocol == "fixed" else "the folds, unless the labels give them, "
    return (
        f"n: {sizes(data)}; up to {seeds} seeds. Random: {drawn}initial weights, order of the batches, "
        "dropout."
    )


def fusion_pair(data: DataSet) -> tuple[System, System] | None:
    """Entropy and attention fusion of otherwise the same system, for Fig. 2."""
    pairs = {(a.experiment, b.experiment): (a, b) for a, b, *_ in reversed(list(matches(data)))}
    return next((pairs[names] for names in FIG2 if names in pairs), None)


def main_system(data: DataSet) -> System:
    """The system that single-system figures show: pnao, or else enf, or else the first there is."""
    return (data.of("pnao") or data.of("enf") or data.systems)[0]


def has_rounds(run: FinishedRun) -> bool:
    """Whether it was trained in rounds of PNAO or of a control; label revision's are something else."""
    return run.rounds_after > 0


def run_pictures(run: FinishedRun) -> tuple[list[Picture], list[str]]:
    """All pictures of one run, on Train&Val and, for the confusion, the first test set."""
    alone = System(run.experiment, run.experiment, (run,))
    part = run.parts[1] if len(run.parts) > 1 else TRAIN_VAL
    measure = "dis" if run.scores(TRAIN_VAL)["com"] is None else "com"
    makers: list[Callable[[], Picture | None]] = [lambda: confusion(alone, part)]
    if has_rounds(run):
        makers.insert(0, lambda: fig3([fold_curve(run)], TRAIN_VAL, "lowest to highest fold"))
        makers.insert(1, lambda: widths(run))
        makers.append(lambda: fig4(run))
        makers.append(lambda: pareto([alone], TRAIN_VAL, measure))
    makers += [lambda: calibration(run), lambda: fusion_weights(alone)]
    pictures, notes = existing(makers)
    best = run.results.best
    selected = f"Its selection score: {best.selection:.4f} ± {best.selection_error:.4f} (standard error). "
    counted = (
        replace(p, caption=f"{p.caption} {selected * (p.name == 'fig3_rounds')}{ONE_SEED}") for p in pictures
    )
    return [worded(picture, run.results) for picture in counted], notes


def worded(picture: Picture, results: Results) -> Picture:
    """The picture with its words about Train&Val as they are in the run's protocol."""
    if results.protocol != "fixed":
        return picture
    texts = {name: getattr(picture, name) for name in ("title", "caption", "alt")}
    called = part_name(results, TRAIN_VAL)
    return replace(
        picture,
        **{k: t.replace("out-of-fold ", "").replace(TRAIN_VAL, called) for k, t in texts.items()},
    )
