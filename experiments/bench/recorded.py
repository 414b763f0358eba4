"""The file of a benchmark, and the comparison of a run with the one that is kept beside this file."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.bench.measure import Figure

RECORDED = Path(__file__).with_name("recorded.json")
TOLERATED = 2.0  # times worse than recorded, because machines that check are noisy


def as_json(figures: Sequence[Figure], quick: bool, machine: dict[str, Any], versions: dict[str, Any]) -> str:
    """The text of ``bench.json``: what was measured, where, with which versions."""
    content = {
        "schema": 1,
        "quick": quick,
        "machine": machine,
        "versions": versions,
        "figures": [figure.as_json() for figure in figures],
    }
    return json.dumps(content, indent=1) + "\n"


def worsened(figures: Sequence[Figure], recorded: dict[str, Any]) -> list[str]:
    """Sentences on the ratios that are less than half as good as recorded.

    Absolute times and exponents are not compared, nor what either run did not measure.
    """
    before = {f["name"]: f["value"] for f in recorded["figures"] if f["unit"] == "ratio"}
    sentences = []
    for figure in figures:
        old = before.get(figure.name)
        if figure.unit != "ratio" or figure.spread is None or old is None:
            continue
        new = figure.spread.value
        if new < old / TOLERATED if figure.higher else new > old * TOLERATED:
            sentences.append(f"{figure.name}: {new:.3g}, recorded {old:.3g}")
    return sentences
