"""The units of the valence labels change nothing but the units of what is predicted."""

import csv
from pathlib import Path

import numpy as np
import pytest

from mer_lightning import load
from mer_lightning.data.standardise import ValenceScale, fit_valence_scale
from tests.conftest import SMALL, composed, folder_overrides, write_folder
from tests.tasks.helpers import trained


def in_other_units(root: Path, factor: float, offset: float) -> Path:
    """The small folder, its valences times ``factor`` plus ``offset``."""
    write_folder(root)
    with (root / "labels.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    with (root / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        for row in rows:
            known = row["valence"] and f"{factor * float(row['valence']) + offset:.6f}"
            writer.writerow(row | {"valence": known})
    return root


@pytest.mark.parametrize(("factor", "offset"), [(0.5, 5.0), (50.0, 300.0)])
def test_affine_labels_give_the_same_model(tmp_path: Path, factor: float, offset: float) -> None:
    plain = write_folder(tmp_path / "plain")
    other = in_other_units(tmp_path / "other", factor, offset)
    a, b = (
        trained(composed("+experiment=pnao", *folder_overrides(root), *SMALL), root / "run")
        for root in (plain, other)
    )
    features = {name: np.load(plain / f"{name}.npy") for name in ("low", "high", "face")}
    ours, theirs = load(a.path).predict(features), load(b.path).predict(features)
    np.testing.assert_allclose(theirs.posterior, ours.posterior, atol=1e-3)
    np.testing.assert_allclose((theirs.valence - offset) / factor, ours.valence, atol=1e-3)
    for mine, others in zip(a.read_results().rounds, b.read_results().rounds, strict=True):
        assert others.parameters == mine.parameters
        assert others.selection == pytest.approx(mine.selection, abs=1e-3)
        assert others.validation.dis == pytest.approx(mine.validation.dis, abs=1e-9)
        assert others.validation.dim == pytest.approx(factor**2 * mine.validation.dim, rel=1e-3)


def test_unknown_and_constant_valences_have_a_scale_too() -> None:
    nothing = np.full(4, np.nan, np.float32)
    assert fit_valence_scale(nothing) == ValenceScale(0.0, 1.0)
    assert np.isnan(fit_valence_scale(nothing)(nothing)).all()
    assert fit_valence_scale(np.float32([2, 2, np.nan])) == ValenceScale(2.0, 1.0)
    scaled = fit_valence_scale(np.float32([1, 3, np.nan]))(np.float32([1, 3, 5, np.nan]))
    np.testing.assert_allclose(scaled, [-1, 1, 3, np.nan])
