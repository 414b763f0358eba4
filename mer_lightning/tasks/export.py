"""``task=export``: a trained model as one file for other runtimes."""

from pathlib import Path

from rich.console import Console

from mer_lightning.config.schema import Config
from mer_lightning.export.formats import FORMATS
from mer_lightning.export.module import Written, export
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.results.description import read_description
from mer_lightning.results.hub import model_folder
from mer_lightning.results.predictor import Predictor, load


def run(config: Config, directory: RunDirectory) -> None:
    """Write the model at ``model`` to ``output``, and show what is in the file and how to use it."""
    path = Path(str(config.output)).expanduser().absolute()
    folder = model_folder(str(config.model.path), config.model.revision)
    predictor = load(folder, config.model.fold)
    origin = {**read_description(folder).origin, "fold": config.model.fold}
    console = Console(soft_wrap=True, highlight=False)
    with console.status(f"writing and checking {path.name}"):
        report = export(predictor, origin, path, config.format)
    for line in shown(predictor, path, report):
        console.print(line, markup=False)
    for line in FORMATS[config.format].usage(path):
        console.print(f"  {line}", markup=False)


def shown(predictor: Predictor, path: Path, report: Written) -> tuple[str, ...]:
    """Lines on what goes in, what comes out, and the file."""
    inputs = ", ".join(f"{name} (B, {d})" for name, d in predictor.features.items())
    posterior = f"posterior (B, {len(predictor.classes)}): {', '.join(predictor.classes)}"
    weights = f"weights (B, {len(predictor.branch_names)}): {', '.join(predictor.branch_names)}"
    valence = (
        "valence (B,)" if predictor.has_valence else "valence (B,), without meaning: none was trained on"
    )
    return (
        f"inputs      {inputs}; float32, raw, a row of NaN where missing",
        f"outputs     {posterior}; {valence}; {weights}",
        f"file        {path}, {report.size / 1e6:.2f} MB",
        f"check       read back, largest difference from the model {report.difference:.1e}",
        "use it with",
    )
