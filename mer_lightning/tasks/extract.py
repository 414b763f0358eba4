"""``task=extract``: a folder of clips into a feature store."""

import csv
import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from filelock import Timeout
from rich.console import Console

from mer_lightning.config.schema import Config
from mer_lightning.data.corpus import Corpus, Utterance
from mer_lightning.data.readers.manifest import FILE as MANIFEST
from mer_lightning.data.readers.store import write_store
from mer_lightning.errors import UserError
from mer_lightning.extract.clips import Clip, Found, find_clips, in_shard
from mer_lightning.extract.parts import Part, Parts, failures_csv
from mer_lightning.extract.pipeline import Pipeline, collect, judged, make_pipeline
from mer_lightning.extract.progress import shown
from mer_lightning.extract.registry import make_encoders
from mer_lightning.extract.transcripts import with_transcripts
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.results.summary import splits_line

FAILURES, CLIPS, TRANSCRIPTS = "failures.csv", "clips.csv", "transcripts.csv"
SHOWN = 20  # failures named in the last lines; all of them are in the file


def run(config: Config, directory: RunDirectory) -> None:
    """Extract what is not extracted yet; when every clip has been tried, write the store."""
    store = Path(str(config.output)).expanduser().absolute()
    console = Console(soft_wrap=True, highlight=False)
    settings = config.extract
    labels = Path(settings.labels).expanduser() if settings.labels else None
    folder = Path(str(config.input)).expanduser()
    found = find_clips(folder, labels)
    if settings.reads:
        found = found._replace(clips=with_transcripts(found.clips, folder, settings))
    parts = Parts(store, found.clips)
    if (store / MANIFEST).is_file():
        parts.remove()  # a kill may have left them
        console.print(f"{store}: finished already; give another output, or remove it first", markup=False)
        return
    if store.exists() and (not store.is_dir() or any(store.iterdir())):
        raise UserError(f"{store}: exists, and is not a feature store; give output= a new folder")
    part, count = settings.part()
    mine = in_shard(found.clips, part, count)
    pipeline = make_pipeline(make_encoders(settings), settings, found.clips)
    parts.begin(pipeline.provenance)
    show_plan(console, found, mine, parts)
    try:
        with parts.lock(f"shard_{part}_{count}"):
            extract(pipeline, [c for c in mine if not parts.has(c.id)], parts)
    except Timeout as error:
        raise UserError(f"{store}: another process is extracting the same clips; wait for it") from error
    except KeyboardInterrupt:
        console.print("interrupted; the finished clips are kept. The same command goes on from here")
        raise
    if (store / MANIFEST).is_file() or all(parts.tried(c.id) for c in found.clips):
        finish(console, pipeline, found, parts, store)
    else:
        left = sum(not parts.tried(c.id) for c in found.clips)
        console.print(
            f"shard {part}/{count} is done; {left} clips of other shards are left, then {store} is made",
            markup=False,
        )


def show_plan(console: Console, found: Found, mine: Sequence[Clip], parts: Parts) -> None:
    """What is going to be done."""
    done = sum(parts.has(c.id) for c in mine)
    of = "" if len(mine) == len(found.clips) else f" of {len(found.clips)}"
    console.print(f"{len(mine)}{of} clips, {done} done before", markup=False)
    for names, what in (
        (found.without_label, "clips are not in the labels and are left out"),
        (found.without_clip, "utterances of the labels have no clip"),
    ):
        if names:
            console.print(
                f"note: {len(names)} {what}: {', '.join(names[:5])}{', ...' * (len(names) > 5)}", markup=False
            )


def extract(pipeline: Pipeline, clips: Sequence[Clip], parts: Parts) -> None:
    """Every clip's outcome into its file. UserError for the first that fails, under ``on_error=stop``."""
    settings = pipeline.settings
    for part in shown(pipeline.run(clips), len(clips)):
        failure = judged(part, settings.missing).failure
        if failure and settings.on_error == "stop":
            raise UserError(
                f"clip {part.id}: {failure}; fix or remove it and run the same command again, or have "
                "such clips listed and left out with extract.on_error=report"
            )
        parts.write(part)


def finish(console: Console, pipeline: Pipeline, found: Found, parts: Parts, store: Path) -> None:
    """The store of all shards' parts, made by the process that comes first, and what is in it."""
    try:
        with parts.lock("store"):
            if (store / MANIFEST).is_file():
                console.print(f"{store}: another process made it", markup=False)
                return
            missing = pipeline.settings.missing
            everything = [judged(parts.read(c.id), missing) for c in found.clips]
            corpus = corpus_of(found, everything, pipeline, store)
            failed = [(p.id, p.failure) for p in everything if p.failure]
            failed += [(name, "no clip of this name") for name in found.without_clip]
            tables = {FAILURES: failures_csv(failed), CLIPS: clips_csv(everything)}
            if pipeline.settings.reads:
                tables[TRANSCRIPTS] = transcripts_csv(everything)
            write_store(corpus, store, pipeline.provenance, tables)
    except Timeout:
        console.print("another process is making the store", markup=False)
        return
    parts.remove()
    summarise(console, corpus, everything, failed, store)


def corpus_of(found: Found, parts: Sequence[Part], pipeline: Pipeline, store: Path) -> Corpus:
    """The clips that have features, as a corpus. UserError if none has, or if a set is missing in all."""
    known: dict[str, Utterance] = {c.id: c.utterance for c in found.clips}
    good = [part for part in parts if not part.failure]
    if not good:
        reasons = Counter(part.failure for part in parts).most_common(3)
        listed = "; ".join(f"{count} times {reason}" for reason, count in reasons)
        raise UserError(f"none of the {len(parts)} clips for {store} could be used: {listed}; fix the clips")
    features = collect(good)
    if lacking := sorted(pipeline.provenance.keys() - features.keys()):
        raise UserError(
            f"no clip has {lacking[0]}: leave {lacking[0].partition('_')[0]} out of extract.features, and "
            "give another output"
        )
    source = {name: e.source for e in pipeline.encoders for name in e.provenance}
    return Corpus(
        name=store.name,
        utterances=tuple(known[part.id] for part in good),
        features=dict(features),
        levels=tuple(name for name in pipeline.provenance if source[name] == "speech"),
        shared=tuple(name for name in pipeline.provenance if source[name] != "speech"),
        classes=tuple(sorted({u.emotion for u in known.values()} - {""})),
    )


def transcripts_csv(parts: Sequence[Part]) -> str:
    """What is said in every clip that is in the store, given or made."""
    text = io.StringIO()
    rows = [(p.id, p.record.transcript) for p in parts if not p.failure]
    csv.writer(text, lineterminator="\n").writerows([("utterance_id", "transcript"), *rows])
    return text.getvalue()


def clips_csv(parts: Sequence[Part]) -> str:
    """What was seen and heard of every clip that is in the store."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("utterance_id", "seconds", "frames", "faces", "notes"))
    for p in parts:
        if not p.failure:
            writer.writerow(
                (p.id, p.record.seconds, p.record.frames, p.record.faces, "; ".join(p.record.notes))
            )
    return text.getvalue()


def summarise(
    console: Console, corpus: Corpus, parts: Sequence[Part], failed: Sequence[tuple[str, str]], store: Path
) -> None:
    """What is in the store, what is not whole, and what is not there, by name and reason."""
    sets = ", ".join(f"{name} ({d})" for name, d in corpus.dimensions.items())
    console.print(f"{store}: {splits_line(corpus)}; {sets}", markup=False)
    console.print(f"use it with data=store data.root={store}", markup=False)
    notes = [note for p in parts if not p.failure for note in p.record.notes]
    for note in sorted(set(notes)):
        console.print(f"note: {notes.count(note)} clips: {note} ({CLIPS} says which)", markup=False)
    for name, reason in failed[:SHOWN]:
        console.print(f"failed: {name}: {reason}", markup=False)
    if failed:
        console.print(f"{len(failed)} failed, listed in {store / FAILURES}", markup=False)
