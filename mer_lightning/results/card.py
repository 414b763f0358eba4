"""A model card for the Hugging Face hub: front matter and text, from a finished run."""

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from mer_lightning.files.recorded import AllScores, Results
from mer_lightning.results.choice import reason, saving

SCORES = {
    "dis": ("f1", "Dis: weighted F1"),
    "uar": ("recall", "UAR: mean recall"),
    "accuracy": ("accuracy", "Accuracy"),
    "dim": ("mse", "Dim: squared error of valence"),
    "ccc": ("ccc", "CCC of valence"),
}  # score -> its name on the hub, and for people
USE = """\
## Intended use

Research on emotion recognition: it gives one of {classes}{valence} for a clip, from features of its sound
and its faces. It does not see what a person feels. It guesses which label the annotators of its training
data would have given to what the person shows.

## Limits

- **Consent.** Faces and voices are personal data. Use recordings of people who agreed to this use.
- **Bias.** Speakers of another age, gender, language, culture or health than those it was trained on, other
  microphones, cameras and light can lower its scores, and not for all groups alike. The figures below say
  nothing about groups. Measure them on your own speakers first.
- **Labels.** The emotions are the annotators' words for acted or shown behaviour, not a person's state.
  Annotators disagree, and the posterior is not the probability that somebody feels something.
- **Law.** Some uses are forbidden in places: in the European Union, Regulation (EU) 2024/1689, Article 5,
  forbids inferring emotions at work and in education, but for medical and safety reasons. Ask before you
  use it.
- Never decide on it alone about a person: work, school, insurance, police, border, health.
"""
LOAD = """\
## How to load it

```python
from mer_lightning import load

model = load("{address}")  # or the folder itself; revision=COMMIT takes exactly that one
prediction = model.predict(features{speakers})  # feature set -> (B, D) array, raw{of_each}
prediction.emotion, prediction.posterior, prediction.valence, prediction.weights
```

The files are safetensors and JSON: nothing in them can run code. `SHA256SUMS` tells damage. It needs the
feature sets

{features}
"""


def card(
    results: Results,
    features: Mapping[str, int],
    extractors: Mapping[str, Mapping[str, Any]],
    *,
    license: str,  # noqa: A002  (the hub's name)
    language: Sequence[str],
    address: str,
    by_speaker: bool = False,
) -> str:
    """README.md: front matter as YAML, then the text.

    Args:
        features: feature set -> dimension, as the model needs them.
        extractors: feature set -> how it was made; {} where that is not known.
        address: where it will be, as ``load`` takes it.
        by_speaker: whether it needs to know the speakers.
    """
    matter = front_matter(results, license, language)
    header = yaml.safe_dump(matter, sort_keys=False, allow_unicode=True)
    made = {
        name: ", ".join(f"{k} {v}" for k, v in extractors.get(name, {}).items() if v) for name in features
    }
    needed = "\n".join(
        f"- {code(name)}, {dimension} numbers{': ' + plain(made[name]) if made[name] else ''}"
        for name, dimension in features.items()
    )
    classes = ", ".join(map(plain, results.data.classes))
    valence = ", and a valence" if results.validation.dim is not None else ""
    text = [
        f"---\n{header}---\n\n# {plain(results.experiment)} on {plain(results.data.name)}\n",
        summary(results),
        USE.format(classes=classes, valence=valence),
        data_text(results),
        scores_text(results),
        LOAD.format(
            address=address,
            features=needed,
            speakers=", speakers" * by_speaker,
            of_each="; of each row, its speaker" * by_speaker,
        ),
        f"Made with {', '.join(f'{name} {v}' for name, v in results.versions.items())}.\n",
    ]
    return "\n".join(text)


def front_matter(results: Results, license: str, language: Sequence[str]) -> dict[str, Any]:  # noqa: A002
    """What the hub reads."""
    matter: dict[str, Any] = {"license": license}
    if language:
        matter["language"] = list(language)
    measured = [entry(results, split, scores) for split, scores in parts(results).items()]
    return matter | {
        "library_name": "mer_lightning",
        "tags": ["emotion-recognition", "multimodal", "audio", "video", "safetensors"],
        "metrics": ["f1", "recall", "accuracy"],
        "model-index": [{"name": results.experiment, "results": [e for e in measured if e["metrics"]]}],
    }


def parts(results: Results) -> dict[str, AllScores]:
    """Part -> its scores: the test sets, else the out-of-fold predictions."""
    return results.test or {"validation": results.validation}


def entry(results: Results, split: str, scores: AllScores) -> dict[str, Any]:
    """One data set of ``model-index``."""
    known = [(name, *SCORES[name]) for name in SCORES if getattr(scores, name) is not None]
    return {
        "task": {"type": "emotion-recognition", "name": "Multimodal emotion recognition"},
        "dataset": {"type": results.data.name, "name": results.data.name, "split": split},
        "metrics": [
            {"type": kind, "name": title, "value": round(getattr(scores, name), 4)}
            for name, kind, title in known
        ],
    }


def summary(results: Results) -> str:
    """What it is, and how its round was chosen."""
    best, made = (
        results.best,
        "**Trained on synthetic data: of no use on people.** " if results.data.synthetic else "",
    )
    networks = (
        "one network" if results.protocol == "fixed" else f"{results.folds} networks, one for each fold"
    )
    saved = f", {saving(results)}" if saving(results) else ""
    return (
        f"{made}An ensemble of {networks}, {best.parameters:,} parameters each on average{saved}. It "
        f"is round {best.round} of its run (seed {results.seed}): {reason(results)}.\n"
    )


def data_text(results: Results) -> str:
    """What it was trained and scored on."""
    d = results.data
    counts = ", ".join(f"{n:,} utterances in {plain(split)}" for split, n in d.n.items())
    seen = " Its training used the test sets' features, without their labels (transductive)."
    return (
        f"## Data\n\n{plain(d.name)}: {counts}. Protocol: {results.protocol}.{seen * results.transductive}\n"
    )


def scores_text(results: Results) -> str:
    """Scores, then those of every emotion, by part; one seed, so no intervals."""
    columns = parts(results)
    rows = [
        [title, *(number(getattr(scores, name)) for scores in columns.values())]
        for name, (_, title) in SCORES.items()
    ]
    for kind in ("f1", "recall"):
        rows += [
            [f"{kind.title()} of {plain(c)}", *(number(getattr(s, kind).get(c)) for s in columns.values())]
            for c in results.data.classes
        ]
    lines = [["Score", *map(plain, columns)], ["---", *["---:"] * len(columns)]]
    lines += [row for row in rows if set(row[1:]) != {"-"}]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"## Results\n\nOne training, seed {results.seed}: another seed gives other figures.\n\n{table}\n"


def number(value: float | None) -> str:
    """Four digits, or a dash."""
    return "-" if value is None else f"{value:.4f}"


def plain(text: str) -> str:
    """A name from a file as text in Markdown: nothing in it is markup."""
    return "".join(f"\\{c}" if c in "\\`*_{}[]<>()#+!|~" else c for c in " ".join(text.split()))


def code(text: str) -> str:
    """A name as code."""
    return f"`{' '.join(text.split()).replace('`', chr(39))}`"
