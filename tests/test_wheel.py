"""The wheel carries conf/ and works from any directory."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True, timeout=120)
    return next(out.glob("*.whl"))


def test_it_carries_conf_and_nothing_foreign(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    conf = {str(p.relative_to(ROOT)) for p in (ROOT / "conf").rglob("*.yaml")}
    assert conf <= {n.removeprefix("mer_lightning/") for n in names}
    assert "hydra_plugins/mer_lightning_ray.py" in names
    assert not [n for n in names if n.startswith(("tests/", "experiments/", "conf/"))]


def test_it_works_unpacked_away_from_the_checkout(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    script = "import mer_lightning as m; from mer_lightning.__main__ import main; print(m.__file__); main()"
    done = subprocess.run(
        [sys.executable, "-c", script, "--cfg", "job", "+experiment=pnao"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(site))
    assert "experiment_name: pnao" in done.stdout
