"""``task=publish``: a trained model as the folder that the Hugging Face hub expects."""

import shutil
from pathlib import Path

from mer_lightning.config.schema import Config
from mer_lightning.errors import UserError
from mer_lightning.files.atomic import new_folder, refuse_strangers, write_text
from mer_lightning.files.checksums import CHECKSUMS, check_whole
from mer_lightning.files.run_directory import RunDirectory
from mer_lightning.results.card import card
from mer_lightning.results.description import FILE, REMEDY, read_description
from mer_lightning.results.predictor import load

CARD = "README.md"


def run(config: Config, directory: RunDirectory) -> None:
    """Write the model of the finished run at ``model``, and its card, to ``output``."""
    source = RunDirectory(Path(str(config.model.path)).expanduser())
    target = Path(str(config.output)).expanduser().absolute()
    if not config.publish.license:
        raise UserError(
            "publish.license is not set: name the license of the weights, for example "
            "publish.license=cc-by-nc-4.0; the data's terms may restrict it"
        )
    if not source.finished:
        raise UserError(f"{source.path}: no finished run; its results.json says what the card tells")
    results, predictor = source.read_results(), load(source.path)
    description = read_description(source.model)
    names = [f"{m.file}.{kind}" for m in description.networks for kind in ("json", "safetensors")]
    text = card(
        results,
        predictor.features,
        predictor.extractors,
        license=config.publish.license,
        language=config.publish.language,
        address=f"hf://{config.publish.name}" if config.publish.name else "FOLDER",
        by_speaker=predictor.standardise == "speaker",
    )
    refuse_foreign(target, text)
    with new_folder(target) as folder:
        for name in (FILE, *names):
            check_whole(source.model / name, REMEDY)
        for name in (FILE, *names, CHECKSUMS):
            shutil.copyfile(source.model / name, folder / name)
        load(folder)  # what is published can be loaded
        write_text(folder / CARD, text)
    print(f"published   {target}: read {CARD}, then upload it, hf upload OWNER/NAME {target}")


def refuse_foreign(target: Path, text: str) -> None:
    """A UserError for an ``output`` that is there, unless it is a model of this task as it was written.

    text: of the card that is to be written.
    """
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    if not all((target / name).is_file() for name in (CARD, FILE, CHECKSUMS)):
        raise UserError(f"output={target} exists, and is not a published model; give another folder")
    lines = (target / CHECKSUMS).read_text(encoding="utf-8", errors="replace").splitlines()
    refuse_strangers(target, {CARD, CHECKSUMS, *(line.partition("  ")[2] for line in lines)})
    if (target / CARD).read_text(encoding="utf-8", errors="replace") != text:
        raise UserError(f"{target / CARD} has another text, yours perhaps: move it, or give another output")
