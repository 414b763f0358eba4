"""A methods paragraph for a paper, from ``results.json`` and ``config.yaml`` alone."""

from collections.abc import Callable, Iterable
from typing import Any

from mer_lightning.data.corpus import NO_FOLD
from mer_lightning.data.folds import straddling
from mer_lightning.files.recorded import Data
from mer_lightning.report.findings import Findings
from mer_lightning.report.runs import FinishedRun
from mer_lightning.report.systems import DataSet
from mer_lightning.report.table import sizes

PROTOCOLS = {
    "paper": "In turn each fold was held out; it stopped the training, chose the round, and was scored.",
    "nested": "In turn each fold was held out and scored; another fold stopped the training and chose "
    "the round.",
    "fixed": "One network was trained on the split train; the split val stopped the training and chose the "
    "round; the test set was scored once.",
}
CHOICES = {
    "smallest": "the smallest network whose validation score was within one standard error of the best "
    "(bootstrap over speakers or, where they are not known, utterances)",
    "best": "the one with the best validation score",
}
CONTROLS = {
    "random": "each round kept as many parameters as pnao's, of nodes drawn from the whole network",
    "shuffled": "each round had the widths of pnao's, the nodes within each group drawn at random",
    "one_shot": "the widths of pnao's reported round were reached in the first round",
    "scratch": "a network of the widths of pnao's reported round was trained from fresh weights",
}
MISSING = "[The runs do not record the hardware and the commit: add them here.]"


def methods(f: Findings) -> str:
    """A data set's paragraph, with its heading; a setting that differs between runs shows all its values."""
    runs = [run for system in f.data.systems for run in system.runs]
    parts = [data_text(f.data, runs), protocol_text(f.data, runs), training_text(runs)]
    parts += [
        systems_text(f.data),
        revision_text(runs),
        pruning_text(runs),
        statistics_text(f),
        versions_text(runs),
        MISSING,
    ]
    return f"## Methods: {f.data.name}\n\n{' '.join(part for part in parts if part)}\n"


def listed(values: Iterable[Any]) -> str:
    """``a``, ``a or b``, ``a, b or c``: each value once, in its order."""
    *most, last = dict.fromkeys(map(str, values))
    return f"{', '.join(most)} or {last}" if most else last


def setting(runs: Iterable[FinishedRun], key: str) -> str:
    """The values of ``GROUP.KEY`` in the runs."""

    def value(run: FinishedRun) -> Any:
        found: Any = run.config
        for name in key.split("."):
            found = found.get(name, "not recorded") if isinstance(found, dict) else "not recorded"
        return found

    return listed(map(value, runs))


def data_text(data: DataSet, runs: list[FinishedRun]) -> str:
    """Utterances, emotions, features."""
    d = data.data
    made = "The data are synthetic: made up. " if data.synthetic else ""
    named = {run.config["data"].get("features"): run.results.data for run in runs}
    features = " ".join(features_text(name, of) for name, of in named.items())
    own = setting(runs, "data.standardise") == "speaker"
    features += " Each speaker's features were standardised by that speaker's own clips, unlabelled." * own
    groups = len(set(runs[0].group) - {""})
    speakers = f", of {groups} groups (speakers or the like)" if groups else ""
    return (
        f"{made}We used {data.name}: {sizes(data)}{speakers}; {len(d.classes)} emotions "
        f"({', '.join(d.classes)}){', and valence' if data.has_valence else ''}. {features}"
    )


def features_text(name: str | None, data: Data) -> str:
    """The feature sets, with the name that ``data.features`` gives them."""
    levels, shared = (
        ", ".join(f"{each} ({width})" for each, width in of.items()) for of in (data.levels, data.shared)
    )
    with_name = f"With the feature sets called {name}: acoustic levels" if name else "Acoustic levels"
    return (
        f"{with_name}, with their dimensions: {levels}; feature sets that every branch "
        f"sees: {shared or 'none'}."
    )


def protocol_text(data: DataSet, runs: list[FinishedRun]) -> str:
    """Folds, and which part did what."""
    if data.protocol == "fixed":
        return PROTOCOLS["fixed"]
    grouped = setting(runs, "data.group")
    apart = f", no {grouped} in two folds" if grouped and any(runs[0].group) and kept_together(runs) else ""
    tests = " Test sets were scored by the folds' networks together." if data.parts[1:] else ""
    folds = listed(run.results.folds for run in runs)
    return f"Train&Val was divided into {folds} folds{apart}. {PROTOCOLS[data.protocol]}{tests}"


def kept_together(runs: Iterable[FinishedRun]) -> bool:
    """Whether no group has utterances in two folds of a run."""
    return not any(
        straddling(run.group[held_out], run.fold[held_out])
        for run in runs
        for held_out in [run.fold != NO_FOLD]
    )


def training_text(runs: list[FinishedRun]) -> str:
    """The schedule of one training."""
    of: Callable[[str], str] = lambda key: setting(runs, f"trainer.{key}")  # noqa: E731
    spent = [epochs for run in runs for r in run.results.rounds for epochs in r.epochs]
    modality = setting(runs, "network.modality_dropout")
    dropped = "" if modality == "0.0" else f" and modality dropout {modality}"
    trained = f" (trained: {min(spent)} to {max(spent)})" if spent else ""
    return (
        f"A network was trained for at most {of('epochs')} epochs{trained} by {of('optimizer')}, learning "
        f"rate {of('learning_rate')} ({of('schedule')}), weight decay {of('weight_decay')}, batches of "
        f"{of('batch_size')}, dropout {setting(runs, 'network.dropout')}{dropped}, in precision "
        f"{of('precision')}; it stopped after {of('patience')} epochs without a better "
        f"{of('monitor')} on validation."
    )


def systems_text(data: DataSet) -> str:
    """Which systems, with how many seeds; what a seed decides."""
    each = "; ".join(f"{s.label}, seeds {', '.join(map(str, s.seeds))}" for s in data.systems)
    folds = "the folds, " if setting(data.systems[0].runs, "data.folds") != "column" else ""
    drawn = folds if data.protocol != "fixed" else ""
    return (
        f"Systems: {each}. A seed decides {drawn}the initial weights, the order of the batches and dropout."
    )


def revision_text(runs: list[FinishedRun]) -> str:
    """Which systems learnt from utterances without labels, and how."""
    revised = [run for run in runs if setting([run], "revision.rounds") not in ("0", "not recorded")]
    if not revised:
        return ""
    source = "the test sets" if revised[0].results.transductive else "the split unlabelled"
    return (
        f"In {listed(run.experiment for run in revised)} {setting(revised, 'revision.rounds')} rounds came "
        "first, each a fresh network that also learnt from predicted labels: of up to "
        f"{setting(revised, 'revision.share')} of {source}, chosen as {setting(revised, 'revision.choose')}."
    )


def pruning_text(runs: list[FinishedRun]) -> str:
    """Rounds of pruning and the choice of a round."""
    pruned = [run for run in runs if run.rounds_after > 0]
    if not pruned:
        return ""
    rounds = listed(run.rounds_after for run in pruned)
    chosen = listed(CHOICES.get(run.results.chosen_by, run.results.chosen_by) for run in pruned)
    return (
        f"Systems with rounds ({listed(run.experiment for run in pruned)}) had {rounds} after the first. "
        f"{removal_text(pruned)}The round that is reported is {chosen}; no test set had a say."
    )


def removal_text(runs: list[FinishedRun]) -> str:
    """Which nodes a round removed, in the systems that decide by importance, and in each control."""
    said = []
    own = [
        r for r in runs if r.config["pnao"]["control"] == "none" and r.results.rounds[-1].parameters_ratio < 1
    ]
    if own:
        kept = setting(own, "pnao.keep")
        target = f" (or, where pnao.keep was {kept}, the least important ones)" if kept != "None" else ""
        said.append(
            f"In {listed(run.experiment for run in own)} a round removed the nodes whose importance on the "
            f"scale {setting(own, 'pnao.scale')} was below {setting(own, 'pnao.rate')} of the largest"
            f"{target}, within guards ({setting(own, 'pnao.guard')}): no group narrower than "
            f"{setting(own, 'pnao.min_width')}, at most {setting(own, 'pnao.max_share')} of it at once. "
        )
    controls = dict.fromkeys((run.experiment, run.config["pnao"]["control"]) for run in runs)
    said += [f"In {name} {CONTROLS[kind]}. " for name, kind in controls if kind in CONTROLS]
    return "".join(said)


def statistics_text(f: Findings) -> str:
    """Intervals and tests."""
    several = any(len(system.runs) > 1 for system in f.data.systems)
    spread = "Scores are means over seeds, with half the 95 % interval." if several else ""
    return " ".join([spread or "Scores are of one seed each, without an interval.", *f.remarks])


def versions_text(runs: list[FinishedRun]) -> str:
    """The software."""
    names = list(dict.fromkeys(name for run in runs for name in run.results.versions))
    each = (f"{name} {listed(v for r in runs if (v := r.results.versions.get(name)))}" for name in names)
    return f"Software: {', '.join(each)}."
