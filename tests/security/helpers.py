"""What the attacks have in common."""

from pathlib import Path

import yaml

from mer_lightning.config.schema import Config
from tests.conftest import SMALL, composed

SCRIPT = "<script>alert(1)</script>"


SECRET = "s3cret-" + "0f1e" * 8


def trained_config(trained: Path) -> Config:
    """The configuration that the run was trained with."""
    saved = yaml.safe_load((trained / "runs" / "run" / "config.yaml").read_text(encoding="utf-8"))
    plain = composed(
        *SMALL, "pnao.rounds=1", "trainer.epochs=1", "data=folder", "data.levels=[x]", "data.root=x"
    )
    for key, value in saved["data"].items():
        setattr(plain.data, key, value)
    plain.experiment_name = saved["experiment_name"]
    return plain
