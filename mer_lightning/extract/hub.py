"""Pretrained models by name: a folder, or a model of the Hugging Face hub, fetched once into its cache."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from mer_lightning.errors import UserError


class Pretrained(NamedTuple):
    """Where a model's files are, and what to call it wherever they are."""

    folder: Path
    name: str  # on the hub, or the folder's last part
    revision: str | None  # of the hub's; a folder has none


def find(key: str, model: str, revision: str | None) -> Pretrained:
    """The folder of the model that ``key`` names. UserError where there is none and none can be fetched."""
    folder = Path(model).expanduser()
    if folder.is_dir():
        return Pretrained(folder, folder.resolve().name, None)
    if model.startswith(("/", ".", "~")) or model.count("/") > 1:  # no name on the hub looks like that
        raise UserError(
            f"{key}={model}: there is no such folder; give one, or a name on the hub, owner/model"
        )
    try:
        return Pretrained(_fetch(model, revision), model, revision)
    except Exception as error:  # HTTP, proxies, names, full disks: each raises its own kinds
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(
            f"{key}={model}: cannot be downloaded ({reason}); check the name, the revision and the network, "
            f"or download it elsewhere and give its folder, {key}=FOLDER"
        ) from error


def _fetch(model: str, revision: str | None) -> Path:
    """The model's folder in the hub's cache: configuration and weights, as safetensors if there are any."""
    from huggingface_hub import snapshot_download  # late: needed for names on the hub only

    def fetch(*patterns: str) -> Path:
        return Path(snapshot_download(model, revision=revision, allow_patterns=list(patterns)))

    folder = fetch("*.json", "model*.safetensors")
    if not any(folder.glob("model*.safetensors")):
        fetch("*.json", "pytorch_model*.bin")
    return folder


@contextmanager
def quiet() -> Iterator[None]:
    """Without the bars of transformers, and its tables of weights that a shortened model rightly ignores."""
    logging: Any = import_module("transformers.utils.logging")  # late: takes seconds

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
