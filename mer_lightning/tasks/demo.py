"""``task=demo``: a live page for a trained model."""

from pathlib import Path

from rich.console import Console

from mer_lightning.config.schema import Config
from mer_lightning.errors import UserError, optional
from mer_lightning.extract.pipeline import pipeline_for
from mer_lightning.files.checksums import CHECKSUMS, sha256
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.results.description import read_description
from mer_lightning.results.hub import model_folder
from mer_lightning.results.predictor import load
from mer_lightning.tasks.demo_page import Explainer, page


def run(config: Config, directory: RunDirectory) -> None:
    """Load the model and its encoders, then serve the page until Ctrl-C."""
    gr = optional("gradio", "mer-lightning[demo]")
    folder = model_folder(str(config.model.path), config.model.revision)
    predictor = load(folder, config.model.fold)
    predictor.prepared({})  # refuses a model that needs speakers
    needed = {name: predictor.extractors.get(name, {}) for name in predictor.features}
    demo = config.demo
    explain = Explainer(predictor, pipeline_for(needed, config.extract), demo)
    blocks = page(explain, described(folder, config.model.fold))
    fonts = ["system-ui", "sans-serif"]  # none from elsewhere: the page works without a network
    try:
        blocks.launch(
            server_name=demo.host,
            server_port=demo.port,
            share=False,
            quiet=True,
            prevent_thread_lock=True,
            max_file_size=f"{int(demo.max_megabytes * 1e6)}b",
            enable_monitoring=False,
            theme=gr.themes.Default(font=fonts, font_mono=["monospace"]),
            footer_links=[],
        )
    except OSError as error:
        raise UserError(
            f"demo.port={demo.port} on {demo.host} is not available; give another demo.port"
        ) from error
    Console(soft_wrap=True).print(
        f"serving on http://{demo.host}:{demo.port}, stop it with Ctrl-C", markup=False
    )
    blocks.block_thread()


def described(folder: Path, fold: int | None) -> str:
    """A trained model's name and version: the run it is of, and the first digits of its files' hash."""
    origin = {**read_description(folder).origin, "fold": "all" if fold is None else fold}
    what = ", ".join(f"{key} {value}" for key, value in origin.items())
    return f"{what}, version {sha256(folder / CHECKSUMS)[:8]}"
